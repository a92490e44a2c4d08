//! Media types by the extension of the name.

/// What a file without a known extension is: bytes that a browser downloads and never runs.
const UNKNOWN: &str = "application/octet-stream";

/// The value of `Content-Type` for a file's name. Text is declared as UTF-8.
pub(crate) fn content_type(name: &str) -> String {
    let Some(media) = mime_guess::from_path(name).first_raw() else { return UNKNOWN.to_owned() };
    // RFC 9239 section 6: JavaScript is text.
    let media = if media == "application/javascript" { "text/javascript" } else { media };
    if media.starts_with("text/") { format!("{media}; charset=utf-8") } else { media.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_a_web_site() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a.b/site.CSS", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "text/javascript; charset=utf-8"),
            ("notes.txt", "text/plain; charset=utf-8"),
            ("notes.md", "text/markdown; charset=utf-8"),
            ("data.json", "application/json"),
            ("app.wasm", "application/wasm"),
            ("font.woff2", "font/woff2"),
            ("icon.svg", "image/svg+xml"),
            ("photo.avif", "image/avif"),
            ("photo.webp", "image/webp"),
            ("film.mp4", "video/mp4"),
            ("site.webmanifest", "application/manifest+json"),
            ("release.tar.gz", "application/gzip"),
            ("LICENSE", UNKNOWN),
            ("a.b/c", UNKNOWN),
            (".html", UNKNOWN),
            ("x.unheard-of", UNKNOWN),
        ] {
            assert_eq!(content_type(name), expected, "{name}");
        }
    }
}
