//! The live page in headless Chromium while the server is under load.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corelane::runtime::Topology;
use corelane::{App, Cores, Server, ServerConfig};

use super::browser::Browser;
use super::support::{self, Client};
use super::{admin_address, anywhere, app};

/// Two shards where the machine has two CPUs.
fn start() -> Server {
    let cpus: Vec<usize> = Topology::detect().cpus().into_iter().take(2).collect();
    let config = ServerConfig { slow_threshold: Duration::from_millis(20), ..Default::default() };
    let app: App = app().config(config).cores(Cores::List(cpus)).admin(anywhere());
    app.start("127.0.0.1:0").expect("start")
}

/// Requests of several kinds, until the page has seen enough.
fn load(server: &Server, number: usize, is_over: &AtomicBool) {
    let mut client = Client::connect(support::tcp_address(server));
    let mut round = number;
    while !is_over.load(Ordering::Relaxed) {
        let path = match round % 40 {
            0 => "/nowhere",
            1 => "/wait/3",
            7 if number == 0 => "/wait/30",
            8 if number == 1 => "/stream",
            step if step % 2 == 0 => "/hello/somebody",
            _ => "/",
        };
        assert!(client.exchange(support::get(path)).status < 500);
        round += 1;
    }
}

fn shoot(browser: &mut Browser, name: &str) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(path, browser.screenshot()).expect("a picture");
}

const REQUESTS: &str = "document.querySelector('#totals dd').textContent";

fn watch(browser: &mut Browser, server: &Server) {
    let cpu_count = server.shard_count();
    browser.resize(1280, 900, "light");
    let url = format!("http://{}/", admin_address(server));
    browser.call("Page.navigate", serde_json::json!({ "url": url }));
    browser.wait_for("document.querySelector('#state')?.textContent === 'ready'");
    // A second with requests, and one after it.
    browser.wait_for("samples.length > 2 && samples.at(-1).latency.p50 > 0");
    assert_eq!(browser.evaluate("document.querySelectorAll('.lane').length"), cpu_count);
    let first = browser.evaluate("samples.at(-1).at").to_string();
    let shown = browser.evaluate(REQUESTS).to_string();
    browser.wait_for(&format!("samples.at(-1).at > {first} && {REQUESTS} !== {shown}"));
    browser.wait_for("document.querySelectorAll('#routes tr').length >= 3");
    browser.wait_for("document.querySelectorAll('#slow li').length >= 2");
    // Every canvas shows more than its background.
    let colours = "[...document.querySelectorAll('canvas')].map((canvas) => {
        const { width, height } = canvas;
        const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data.buffer;
        return new Set(new Uint32Array(pixels)).size;
    })";
    let colours = browser.evaluate(colours);
    let colours: Vec<u64> =
        colours.as_array().expect("a list").iter().filter_map(|c| c.as_u64()).collect();
    assert!(
        colours.len() == cpu_count + 1 && colours.iter().all(|count| *count > 8),
        "{colours:?}"
    );
}

fn use_keyboard(browser: &mut Browser) {
    browser.evaluate("document.querySelector('#heat').focus()");
    browser.press("ArrowLeft");
    browser.wait_for(
        "/^[0-9:]{8}: .* requests, p50 /.test(document.querySelector('#reading').textContent)",
    );
    browser.press("Escape");
    browser.wait_for("document.querySelector('#reading').textContent === ''");
    browser.press("p");
    browser.wait_for("document.querySelector('#pause').getAttribute('aria-pressed') === 'true'");
    browser.press("p");
    browser.wait_for("document.querySelector('#pause').getAttribute('aria-pressed') === 'false'");
}

#[test]
fn the_page_lives_and_fits() {
    let server = start();
    let is_over = AtomicBool::new(false);
    let mut browser = std::thread::scope(|scope| {
        for number in 0..6 {
            let (server, is_over) = (&server, &is_over);
            scope.spawn(move || load(server, number, is_over));
        }
        let browser = scope.spawn(|| {
            let mut browser = Browser::start();
            watch(&mut browser, &server);
            use_keyboard(&mut browser);
            let seconds = std::env::var("CORELANE_TEST_PAGE_SECONDS").ok();
            let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(0);
            browser.wait_for(&format!("samples.length >= {seconds}"));
            for (width, height, scheme) in
                [(1280, 900, "light"), (1280, 900, "dark"), (400, 800, "light"), (400, 800, "dark")]
            {
                browser.resize(width, height, scheme);
                browser.wait_for(&format!("innerWidth === {width}"));
                let wide = browser.evaluate("document.documentElement.scrollWidth");
                assert!(wide.as_u64() <= Some(u64::from(width)), "{width}: it scrolls sideways");
                shoot(&mut browser, &format!("live-{width}-{scheme}.png"));
            }
            browser
        });
        let browser = browser.join();
        is_over.store(true, Ordering::Relaxed);
        browser.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    assert!(browser.errors.is_empty(), "{:?}", browser.errors);
    drop(server);
    browser.wait_for("document.querySelector('#state').textContent === 'out of reach'");
}

#[test]
fn text_stands_out_in_both_schemes() {
    let page = include_str!("../../src/admin/page.html");
    let (light, rest) =
        page.split_once("@media (prefers-color-scheme: dark)").expect("two schemes");
    let dark = rest.split_once("* {").expect("the end of the colours").0;
    for css in [light, dark] {
        let colour = |name: &str| {
            let (_, rest) = css.split_once(&format!("--{name}: #")).expect(name);
            u32::from_str_radix(&rest[..6], 16).expect("hexadecimal")
        };
        // WCAG 2.2, 1.4.3: 4.5 for text; 1.4.11: 3 for lines that say something.
        for (text, back, least) in [
            ("text", "page", 4.5),
            ("text", "card", 4.5),
            ("soft", "page", 4.5),
            ("soft", "card", 4.5),
            ("good", "good-back", 4.5),
            ("bad", "bad-back", 4.5),
            ("p50", "card", 4.5),
            ("p50", "rate", 3.0),
            ("p99", "rate", 3.0),
            ("p999", "rate", 3.0),
            ("bad", "card", 3.0),
        ] {
            let contrast = contrast(colour(text), colour(back));
            assert!(contrast >= least, "{text} on {back}: {contrast}");
        }
    }
}

fn contrast(one: u32, other: u32) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

fn luminance(colour: u32) -> f64 {
    let linear = |shift: u32| {
        let part = f64::from(colour >> shift & 0xff) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(16) + 0.7152 * linear(8) + 0.0722 * linear(0)
}
