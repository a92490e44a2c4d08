//! A directory as a page: sorted, escaped, in one piece without scripts.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::conditional::format_date;

/// Entries that one page shows; a directory with more says that it has more. About a megabyte.
pub(crate) const ENTRY_COUNT_MAX: usize = 10_000;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) is_directory: bool,
    pub(crate) size: u64,
    pub(crate) modified_seconds: u64,
}

/// What must be escaped in a segment of a path (RFC 3986 section 3.3, without sub-delims).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The page of a directory. `path` is what the reader calls it; `has_parent` gives it a way up.
pub(crate) fn page(path: &str, mut entries: Vec<Entry>, has_parent: bool, is_cut: bool) -> String {
    entries.sort_by(|one, other| {
        let by_kind = other.is_directory.cmp(&one.is_directory);
        by_kind.then_with(|| one.name.cmp(&other.name))
    });
    let title = Escaped(path);
    let mut page = String::with_capacity(1024 + entries.len() * 160);
    // A String takes everything that is written to it.
    let _ = write!(page, "{BEFORE_TITLE}{title}{BEFORE_HEADING}{title}{BEFORE_ROWS}");
    if has_parent {
        page.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for entry in &entries {
        write_row(&mut page, entry);
    }
    page.push_str("</table>\n");
    if is_cut {
        let _ = writeln!(page, "<p>Only the first {ENTRY_COUNT_MAX} names are shown.</p>");
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn write_row(page: &mut String, entry: &Entry) {
    let slash = if entry.is_directory { "/" } else { "" };
    let link = utf8_percent_encode(&entry.name, SEGMENT);
    let name = Escaped(&entry.name);
    let size = if entry.is_directory { String::new() } else { readable_size(entry.size) };
    let date = format_date(entry.modified_seconds);
    // "./" in front: a name with a colon would be taken for a scheme.
    let _ = writeln!(
        page,
        "<tr><td><a href=\"./{link}{slash}\">{name}{slash}</a></td>\
         <td>{size}</td><td>{date}</td></tr>"
    );
}

/// 1234567 as `1.2 MB`.
fn readable_size(size: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut scaled = size as f64;
    let mut unit = "B";
    for larger in units {
        if scaled < 999.5 {
            break;
        }
        scaled /= 1000.0;
        unit = larger;
    }
    if unit == "B" || scaled >= 9.95 {
        format!("{scaled:.0} {unit}")
    } else {
        format!("{scaled:.1} {unit}")
    }
}

/// Text that is only text in HTML, within elements and within quotes.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

const BEFORE_TITLE: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width\">\n<title>";

const BEFORE_HEADING: &str = "</title>\n<style>\n\
    :root { color-scheme: light dark }\n\
    body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;\n\
    \x20 padding: 0 1rem }\n\
    h1 { font-size: 1.25rem; overflow-wrap: anywhere }\n\
    table { width: 100%; border-collapse: collapse }\n\
    td { padding: .2rem .5rem; border-top: 1px solid #8884; white-space: nowrap }\n\
    td:first-child { width: 100%; white-space: normal; overflow-wrap: anywhere }\n\
    td:nth-child(2) { text-align: right; font-variant-numeric: tabular-nums }\n\
    </style>\n</head>\n<body>\n<h1>";

const BEFORE_ROWS: &str = "</h1>\n<table>\n";

/// What a browser may do with the page: nothing but show it.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, is_directory: bool) -> Entry {
        Entry { name: name.to_owned(), is_directory, size: 1, modified_seconds: 0 }
    }

    fn names_in_order(page: &str) -> Vec<&str> {
        page.split("<a href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
    }

    #[test]
    fn directories_come_first_and_names_are_sorted() {
        let entries =
            vec![entry("b", false), entry("z", true), entry("a", false), entry("c", true)];
        let page = page("/x/", entries, true, false);
        assert_eq!(names_in_order(&page), ["../", "./c/", "./z/", "./a", "./b"]);
    }

    #[test]
    fn names_are_only_names() {
        let hostile = "\"><script>alert('1')</script>&amp;";
        let page = page(hostile, vec![entry(hostile, false)], false, false);
        assert!(!page.contains("<script"), "{page}");
        assert!(
            page.contains("&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;")
        );
        assert!(
            page.contains("href=\"./%22%3E%3Cscript%3Ealert%28%271%27%29%3C%2Fscript%3E%26amp%3B")
        );
    }

    #[test]
    fn links_lead_to_their_names() {
        let entries = vec![entry("javascript:x", false), entry("a b?#%é", false)];
        let page = page("/", entries, false, false);
        assert_eq!(names_in_order(&page), ["./a%20b%3F%23%25%C3%A9", "./javascript%3Ax"]);
    }

    #[test]
    fn a_page_that_is_cut_says_so() {
        assert!(page("/", Vec::new(), false, true).contains("Only the first 10000 names"));
        assert!(!page("/", Vec::new(), false, false).contains("Only the first"));
    }

    #[test]
    fn sizes() {
        for (size, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9949, "9.9 kB"),
            (9950, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (1_234_567, "1.2 MB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(readable_size(size), expected, "{size}");
        }
    }
}
