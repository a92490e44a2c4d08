//! A second reading of RFC 9112, written to be checked by eye: no states, no speed, whole input.
//!
//! It knows the rulings of `docs/http.md` (what is stricter than the RFC asks), and of the limits
//! only those that a small input can hit.

use std::net::Ipv6Addr;

/// A body may have as many bytes: the default of the server's routes.
pub(crate) const BODY_BYTES_MAX: u64 = 1 << 20;

/// One complete request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: Vec<u8>,
    pub(crate) target: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) keeps_alive: bool,
}

/// How the input ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Between two requests.
    Open,
    /// Within one.
    Waiting,
    /// Behind the last one that the connection takes.
    Closed,
    /// At something that is refused.
    Refused,
    /// Within a head, which may be beyond help already.
    Unsure,
}

/// Why there is no (further) request.
enum Stop {
    End(End),
}

type Read<T> = Result<T, Stop>;

const REFUSED: Stop = Stop::End(End::Refused);
const WAITING: Stop = Stop::End(End::Waiting);

/// All complete requests of the input, and how it ends.
pub(crate) fn read(mut input: &[u8]) -> (Vec<Request>, End) {
    let mut requests = Vec::new();
    loop {
        match request(&mut input) {
            Ok(request) => requests.push(request),
            Err(Stop::End(end)) => return (requests, end),
        }
        if requests.last().is_some_and(|request| !request.keeps_alive) {
            return (requests, End::Closed);
        }
    }
}

fn request(input: &mut &[u8]) -> Read<Request> {
    skip_blank_lines(input)?;
    let size = input.windows(4).position(|four| four == b"\r\n\r\n");
    let size = size.ok_or(Stop::End(End::Unsure))?;
    let head = Head::parse(&input[..size]).ok_or(REFUSED)?;
    *input = &input[size + 4..];
    let body = match head.framing {
        Framing::Length(size) if size > BODY_BYTES_MAX => return Err(REFUSED),
        Framing::Length(size) => {
            if (input.len() as u64) < size {
                return Err(WAITING);
            }
            take(input, size as usize)?.to_vec()
        }
        Framing::Chunked => chunks(input)?,
    };
    Ok(Request { method: head.method, target: head.target, body, keeps_alive: head.keeps_alive })
}

/// At most two empty lines may come before a request line.
fn skip_blank_lines(input: &mut &[u8]) -> Read<()> {
    for count in 0.. {
        match input {
            [] => return Err(Stop::End(End::Open)),
            [b'\r', ..] if count == 2 => return Err(REFUSED),
            [b'\r'] => return Err(WAITING),
            [b'\r', b'\n', rest @ ..] => *input = rest,
            [b'\r' | b'\n', ..] => return Err(REFUSED),
            _ => break,
        }
    }
    Ok(())
}

enum Framing {
    Length(u64),
    Chunked,
}

struct Head {
    method: Vec<u8>,
    target: Vec<u8>,
    framing: Framing,
    keeps_alive: bool,
}

impl Head {
    /// A head without its empty line; `None` where it is refused.
    fn parse(bytes: &[u8]) -> Option<Head> {
        let mut lines = lines(bytes)?;
        let line = lines.remove(0);
        let [method, target, version] =
            line.split(|byte| *byte == b' ').collect::<Vec<_>>().try_into().ok()?;
        let is_old = match version {
            b"HTTP/1.0" => true,
            [name @ .., b'1'..=b'9'] if name == b"HTTP/1." => false,
            _ => return None,
        };
        let is_method = is_token(method) && method.len() <= 32 && method != b"CONNECT";
        if !is_method || !is_target(method, target) || lines.len() > 100 {
            return None;
        }
        let fields = lines.into_iter().map(field).collect::<Option<Vec<_>>>()?;
        let named = |wanted: &str| -> Vec<&[u8]> {
            let own =
                fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
            own.map(|(_, value)| *value).collect()
        };
        let is_host = match named("host")[..] {
            [] => is_old,
            // Only `*` has no authority; every other target is that of a URI with a host.
            [b""] => target == b"*",
            [host] => is_authority(host),
            _ => false,
        };
        let expects = named("expect").into_iter().flat_map(list);
        let is_other =
            |wish: &[u8]| !wish.is_empty() && !wish.eq_ignore_ascii_case(b"100-continue");
        if !is_host || (!is_old && expects.into_iter().any(is_other)) {
            return None;
        }
        let framing = framing(&named("content-length"), &named("transfer-encoding"), is_old)?;
        let has_lookalike = ["content_length", "transfer_encoding"]
            .into_iter()
            .any(|alike| !named(alike).is_empty());
        let types = named("content-type");
        if has_lookalike || types.iter().any(|kind| *kind != types[0]) {
            return None;
        }
        let says = |option: &[u8]| {
            let options = named("connection").into_iter().flat_map(list);
            options.into_iter().any(|known| known.eq_ignore_ascii_case(option))
        };
        let keeps_alive = !says(b"close") && (!is_old || says(b"keep-alive"));
        let upgrades = named("upgrade").into_iter().flat_map(list);
        let is_web_socket =
            upgrades.into_iter().any(|name| name.eq_ignore_ascii_case(b"websocket"));
        let is_handshake = method == b"GET" && !is_old && says(b"upgrade") && is_web_socket;
        let is_other = named("sec-websocket-version").iter().any(|version| *version != b"13");
        if is_handshake && is_other {
            return None;
        }
        let (method, target) = (method.to_vec(), target.to_vec());
        Some(Head { method, target, framing, keeps_alive })
    }
}

fn framing(lengths: &[&[u8]], codings: &[&[u8]], is_old: bool) -> Option<Framing> {
    match (lengths, codings) {
        ([], []) => Some(Framing::Length(0)),
        ([length], []) => {
            let text = std::str::from_utf8(length).ok()?;
            let is_plain = text == "0" || text.starts_with(|first| matches!(first, '1'..='9'));
            let is_number = is_plain && text.bytes().all(|digit| digit.is_ascii_digit());
            Some(Framing::Length(is_number.then(|| text.parse().ok())??))
        }
        ([], [coding]) if !is_old && coding.eq_ignore_ascii_case(b"chunked") => {
            Some(Framing::Chunked)
        }
        _ => None,
    }
}

fn chunks(input: &mut &[u8]) -> Read<Vec<u8>> {
    let mut content = Vec::new();
    let (mut announced, mut extension_count) = (0u64, 0);
    loop {
        let size = chunk_line(input, &mut extension_count)?;
        if size == 0 {
            break;
        }
        announced = announced.checked_add(size).ok_or(REFUSED)?;
        if announced > BODY_BYTES_MAX {
            return Err(REFUSED);
        }
        if (input.len() as u64) < size {
            return Err(WAITING);
        }
        content.extend_from_slice(take(input, size as usize)?);
        for expected in b"\r\n" {
            match input.split_first() {
                None => return Err(WAITING),
                Some((byte, rest)) if byte == expected => *input = rest,
                Some(_) => return Err(REFUSED),
            }
        }
    }
    trailers(input)?;
    Ok(content)
}

/// A size with its extensions and line end. What is wrong is refused at once, even where the line
/// is not whole.
fn chunk_line(input: &mut &[u8], extension_count: &mut usize) -> Read<u64> {
    let end = input.iter().position(|byte| *byte == b'\r');
    let line = &input[..end.unwrap_or(input.len())];
    let digit_count = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let extensions = &line[digit_count..];
    *extension_count += extensions.len();
    let is_sound = digit_count <= 16
        && line.len() <= 256
        && *extension_count <= 4096
        && (digit_count > 0 || line.is_empty())
        && is_extension_start(extensions, end.is_some());
    if !is_sound || (line.is_empty() && end.is_some()) {
        return Err(REFUSED);
    }
    let Some(end) = end else { return Err(WAITING) };
    match input.get(end + 1) {
        None => return Err(WAITING),
        Some(b'\n') => {}
        Some(_) => return Err(REFUSED),
    }
    let digits = std::str::from_utf8(&line[..digit_count]).expect("digits are ASCII");
    let size = u64::from_str_radix(digits, 16).map_err(|_| REFUSED)?;
    *input = &input[end + 2..];
    Ok(size)
}

/// Whether these are extensions, or, where the line is not whole, can still become some.
fn is_extension_start(mut rest: &[u8], is_whole: bool) -> bool {
    while let Some((b';', behind)) = rest.split_first() {
        let name = behind.iter().take_while(|byte| is_tchar(**byte)).count();
        rest = &behind[name..];
        if name == 0 {
            return rest.is_empty() && !is_whole;
        }
        let Some((b'=', value)) = rest.split_first() else { continue };
        if value.is_empty() {
            return !is_whole;
        }
        rest = match value.split_first() {
            Some((b'"', quoted)) => match quoted_end(quoted) {
                Quoted::Ends(rest) => rest,
                Quoted::Open => return !is_whole,
                Quoted::Broken => return false,
            },
            _ => {
                let size = value.iter().take_while(|byte| is_tchar(**byte)).count();
                if size == 0 {
                    return false;
                }
                &value[size..]
            }
        };
    }
    rest.is_empty()
}

enum Quoted<'a> {
    Ends(&'a [u8]),
    Open,
    Broken,
}

fn quoted_end(mut rest: &[u8]) -> Quoted<'_> {
    loop {
        rest = match rest {
            [] => return Quoted::Open,
            [b'"', rest @ ..] => return Quoted::Ends(rest),
            [b'\\'] => return Quoted::Open,
            [b'\\', byte, rest @ ..] if is_value(*byte) => rest,
            [byte, rest @ ..] if *byte != b'\\' && is_value(*byte) => rest,
            _ => return Quoted::Broken,
        };
    }
}

fn trailers(input: &mut &[u8]) -> Read<()> {
    if let Some(rest) = input.strip_prefix(b"\r\n") {
        *input = rest;
        return Ok(());
    }
    let size = input.windows(4).position(|four| four == b"\r\n\r\n");
    let size = size.ok_or(Stop::End(if input.is_empty() { End::Waiting } else { End::Unsure }))?;
    let lines = lines(&input[..size]).ok_or(REFUSED)?;
    if lines.len() > 32 || size + 4 > 4096 || lines.iter().any(|line| field(line).is_none()) {
        return Err(REFUSED);
    }
    *input = &input[size + 4..];
    Ok(())
}

fn take<'a>(input: &mut &'a [u8], size: usize) -> Read<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(size).ok_or(WAITING)?;
    *input = rest;
    Ok(taken)
}

/// The lines of a section; `None` where there is a CR or LF within one.
fn lines(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut lines, mut rest) = (Vec::new(), bytes);
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    let is_broken = |line: &&[u8]| line.contains(&b'\r') || line.contains(&b'\n');
    (!lines.iter().any(is_broken)).then_some(lines)
}

fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
    (is_token(name) && value.iter().all(|byte| is_value(*byte))).then_some((name, value))
}

fn list(value: &[u8]) -> Vec<&[u8]> {
    value.split(|byte| *byte == b',').map(trim).collect()
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn is_target(method: &[u8], target: &[u8]) -> bool {
    let is_clean = target.iter().all(|byte| matches!(byte, 0x21..0x7f) && !b"#\\".contains(byte));
    let is_form = match target {
        [b'/', ..] => true,
        b"*" => method == b"OPTIONS",
        _ => ["http://", "https://"].into_iter().any(|scheme| {
            target.split_at_checked(scheme.len()).is_some_and(|(start, rest)| {
                let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
                start.eq_ignore_ascii_case(scheme.as_bytes()) && is_authority(&rest[..end])
            })
        }),
    };
    is_clean && is_form
}

fn is_authority(authority: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(authority) else { return false };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            if address.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", port)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| {
            let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
            is_number && digits.len() <= 5 && digits.parse::<u32>().unwrap_or(0) <= 65535
        });
    is_port && !host.is_empty() && is_name(host.as_bytes())
}

fn is_name(mut host: &[u8]) -> bool {
    loop {
        host = match host {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [byte, rest @ ..]
                if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(byte) =>
            {
                rest
            }
            _ => return false,
        };
    }
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_tchar(*byte))
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}
