//! The router against a list of patterns that is searched one by one.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use corelane::runtime::simulation::{Simulation, SimulationConfig};
use corelane::{App, Exchange, FromRequest, TrailingSlash, get, post};
use fastrand::Rng;

/// Applications, each with its routes and some paths.
const SEED_COUNT: u64 = 1000;

/// Texts that are each other's beginnings and ends, and one with an escape that stays.
const TEXTS: [&str; 6] = ["a", "ab", "aab", "b", "a%2Fb", "~"];

/// Of two patterns that match a path the smaller one is more specific: at the first difference
/// text wins over a parameter, and a parameter over the rest of the path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    /// Without text at the end of a pattern: a slash.
    Text(&'static str),
    Parameter,
    Rest,
}

type Pattern = Vec<Segment>;

fn any_pattern(random: &mut Rng) -> Pattern {
    let count = random.usize(1..4);
    let any = |_| match random.u8(0..5) {
        0..3 => Segment::Text(TEXTS[random.usize(..TEXTS.len())]),
        _ => Segment::Parameter,
    };
    let mut pattern: Pattern = (0..count).map(any).collect();
    match random.u8(0..6) {
        0 => pattern.push(Segment::Rest),
        1 => pattern.push(Segment::Text("")),
        _ => {}
    }
    pattern
}

/// As the application writes it. The parameters at one place have one name in all patterns.
fn written(pattern: &Pattern) -> String {
    let part = |(index, segment): (usize, &Segment)| match segment {
        Segment::Text(text) => format!("/{text}"),
        Segment::Parameter => format!("/{{p{index}}}"),
        Segment::Rest => format!("/{{*p{index}}}"),
    };
    pattern.iter().enumerate().map(part).collect()
}

/// The same pattern with a slash at its end, or without.
fn with_other_slash(pattern: &Pattern) -> Option<Pattern> {
    match pattern.split_last()? {
        (Segment::Text(""), []) | (Segment::Rest, _) => None,
        (Segment::Text(""), before) => Some(before.to_vec()),
        _ => Some(pattern.iter().cloned().chain([Segment::Text("")]).collect()),
    }
}

/// The values of the parameters, where the pattern matches.
fn values(pattern: &[Segment], path: &[&str]) -> Option<Vec<String>> {
    match (pattern, path) {
        ([], []) => Some(Vec::new()),
        ([Segment::Rest], path) => Some(vec![path.join("/")]).filter(|rest| !rest[0].is_empty()),
        ([Segment::Text(text), pattern @ ..], [first, path @ ..]) if text == first => {
            values(pattern, path)
        }
        ([Segment::Parameter, pattern @ ..], [first, path @ ..]) if !first.is_empty() => {
            let rest = values(pattern, path)?;
            Some([vec![(*first).to_owned()], rest].concat())
        }
        _ => None,
    }
}

/// Whether the router takes only one of them: beside a rest there can be no parameter.
fn conflict(one: &Pattern, other: &Pattern) -> bool {
    let difference = one.iter().zip(other).find(|(one, other)| one != other);
    matches!(
        difference,
        Some((Segment::Rest, Segment::Parameter) | (Segment::Parameter, Segment::Rest))
    )
}

/// An escape of a character that needs none is that character.
fn plain(path: &str) -> String {
    path.replace("%61", "a").replace("%7E", "~").replace("%7e", "~")
}

/// The routes of one application: patterns with their methods.
struct Model {
    routes: Vec<(Pattern, Vec<&'static str>)>,
    slash: TrailingSlash,
}

impl Model {
    fn any(random: &mut Rng) -> Model {
        let count = random.usize(1..9);
        let mut patterns = BTreeSet::new();
        for pattern in std::iter::repeat_with(|| any_pattern(random)).take(count) {
            if !patterns.iter().any(|known| conflict(known, &pattern)) {
                patterns.insert(pattern);
            }
        }
        let mut any_methods = |pattern| {
            let methods: &[&str] = [&["GET"][..], &["POST"], &["GET", "POST"]][random.usize(..3)];
            (pattern, methods.to_vec())
        };
        let mut routes: Vec<_> = patterns.into_iter().map(&mut any_methods).collect();
        random.shuffle(&mut routes);
        let policies = [TrailingSlash::Strict, TrailingSlash::Redirect, TrailingSlash::Ignore];
        Model { routes, slash: policies[random.usize(..3)] }
    }

    fn app(&self) -> App {
        let app = App::new().trailing_slash(self.slash);
        self.routes.iter().fold(app, |app, (pattern, methods)| {
            let name = written(pattern);
            let answer = move |Values(values): Values| {
                let text = format!("{name} {}", values.join(" "));
                async move { text }
            };
            let route = match methods[..] {
                ["GET"] => get(answer),
                ["POST"] => post(answer),
                _ => post(answer.clone()).get(answer),
            };
            app.route(&written(pattern), route)
        })
    }

    /// Status, and what has been answered with it: the pattern and the parameters, or a place.
    fn expected(&self, method: &str, path: &str) -> (u16, String) {
        let plain = plain(path);
        let segments: Vec<&str> = plain.split('/').skip(1).collect();
        let own = self
            .routes
            .iter()
            .map(|(pattern, methods)| (pattern.clone(), Some((pattern, methods))));
        let mut known: Vec<_> = own.collect();
        for (pattern, methods) in &self.routes {
            let Some(other) = with_other_slash(pattern) else { continue };
            match self.slash {
                TrailingSlash::Ignore => known.push((other, Some((pattern, methods)))),
                TrailingSlash::Redirect => known.push((other, None)),
                _ => {}
            }
        }
        // What the application routes itself comes first, and wins.
        let matching = known.iter().filter_map(|(pattern, route)| {
            values(pattern, &segments).map(|values| (pattern, values, route))
        });
        let mut found: Vec<_> = matching.collect();
        found.sort_by_key(|(pattern, ..)| *pattern);
        match found.first() {
            None => (404, String::new()),
            Some((_, values, Some((pattern, methods)))) if methods.contains(&method) => {
                (200, format!("{} {}", written(pattern), values.join(" ")))
            }
            Some((.., Some(_))) => (405, String::new()),
            // It would name another host.
            Some((.., None)) if path.starts_with("//") => (404, String::new()),
            Some((.., None)) => match path.strip_suffix('/') {
                Some(without) => (308, without.to_owned()),
                None => (308, format!("{path}/")),
            },
        }
    }

    /// A path that one of the patterns matches, or nearly.
    fn any_path(&self, random: &mut Rng) -> String {
        let (pattern, _) = &self.routes[random.usize(..self.routes.len())];
        let mut any = || match random.u8(0..8) {
            0 => "",
            1 => "c",
            2 => "%61",
            3 => "%61b",
            4 => "%7e",
            _ => TEXTS[random.usize(..TEXTS.len())],
        };
        let mut path = String::new();
        for segment in pattern {
            path.push('/');
            match segment {
                Segment::Text(text) if !any().is_empty() => path.push_str(text),
                Segment::Rest => path.extend([any(), "/", any()]),
                _ => path.push_str(any()),
            }
        }
        match random.u8(0..6) {
            0 => path.push('/'),
            1 => path.truncate(path.rfind('/').filter(|at| *at > 0).unwrap_or(path.len())),
            _ => {}
        }
        path
    }
}

/// The parameters in their order, as they were sent.
struct Values(Vec<String>);

impl FromRequest for Values {
    type Rejection = std::convert::Infallible;

    fn from_request(exchange: &mut Exchange<'_>) -> Result<Values, Self::Rejection> {
        let values = (0..8).filter_map(|index| exchange.param(&format!("p{index}")));
        Ok(Values(values.map(str::to_owned).collect()))
    }
}

/// Status, and what [`Model::expected`] knows of the answer.
fn ask(
    simulation: &mut Simulation,
    address: SocketAddr,
    method: &str,
    path: &str,
) -> (u16, String) {
    let peer = simulation.connect(address).expect("it listens");
    peer.send(format!("{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"));
    peer.finish();
    simulation.run_until(|| peer.ending().is_some());
    let received = String::from_utf8(peer.received()).expect("text");
    let (head, content) = received.split_once("\r\n\r\n").expect("an answer");
    let status = head[9..12].parse().expect("a status");
    let location = head.lines().find_map(|line| line.strip_prefix("location: "));
    match status {
        200 => (status, content.to_owned()),
        _ => (status, location.unwrap_or_default().to_owned()),
    }
}

fn run(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let model = Model::any(&mut random);
    let address = SocketAddr::from(([10, 0, 0, 1], 80));
    let mut simulation = Simulation::new(seed, SimulationConfig::default());
    model.app().simulate(&mut simulation, 1, address).expect("no two patterns are alike");
    for _ in 0..12 {
        let path = model.any_path(&mut random);
        let method = ["GET", "POST"][random.usize(..2)];
        let expected = model.expected(method, &path);
        let patterns: Vec<_> = model.routes.iter().map(|(pattern, _)| written(pattern)).collect();
        let seen = ask(&mut simulation, address, method, &path);
        let slash = model.slash;
        assert_eq!(seen, expected, "seed {seed}: {method} {path} in {patterns:?}, {slash:?}");
    }
    simulation.drain_and_check();
}

#[test]
fn the_most_specific_route_answers() {
    (0..SEED_COUNT).for_each(run);
}
