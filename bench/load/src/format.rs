//! Numbers as people read them.

use std::time::Duration;

/// A duration in the unit that leaves three or four digits: `312 us`, `1.23 ms`, `4.56 s`.
pub(crate) fn latency(nanos: u64) -> String {
    let micros = nanos as f64 / 1e3;
    if micros < 99.95 {
        format!("{micros:.1} us")
    } else if micros < 999.5 {
        format!("{micros:.0} us")
    } else if micros < 999_500.0 {
        format!("{} ms", three_digits(micros / 1e3))
    } else {
        format!("{} s", three_digits(micros / 1e6))
    }
}

fn three_digits(number: f64) -> String {
    match number {
        ..9.995 => format!("{number:.2}"),
        ..99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// A whole number with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes a second.
pub(crate) fn traffic(bytes: u64, duration: Duration) -> String {
    let rate = per_second(bytes, duration);
    match rate {
        ..1e3 => format!("{rate:.0} B/s"),
        ..1e6 => format!("{} kB/s", three_digits(rate / 1e3)),
        ..1e9 => format!("{} MB/s", three_digits(rate / 1e6)),
        _ => format!("{} GB/s", three_digits(rate / 1e9)),
    }
}

/// So many in that time, each second; zero where no time has passed.
pub(crate) fn per_second(count: u64, duration: Duration) -> f64 {
    if duration.is_zero() {
        return 0.0;
    }
    count as f64 / duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_keep_their_digits() {
        for (nanos, text) in [
            (0, "0.0 us"),
            (12_345, "12.3 us"),
            (312_400, "312 us"),
            (999_499, "999 us"),
            (999_500, "1.00 ms"),
            (12_345_000, "12.3 ms"),
            (999_600_000, "1.00 s"),
            (61_000_000_000, "61.0 s"),
        ] {
            assert_eq!(latency(nanos), text);
        }
    }

    #[test]
    fn counts_and_traffic_are_readable() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        let second = Duration::from_secs(1);
        assert_eq!(traffic(512, second), "512 B/s");
        assert_eq!(traffic(31_234_567, second), "31.2 MB/s");
        assert_eq!(traffic(1, Duration::ZERO), "0 B/s");
    }
}
