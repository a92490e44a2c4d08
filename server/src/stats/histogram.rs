//! How long things took: counts in buckets that never change, so that shards and moments add up.
//!
//! The buckets are log-linear over whole microseconds: four to each power of two, up to 67 seconds.
//! A value is known to within a quarter; powers of two of a microsecond are bounds of buckets.

use std::time::Duration;

use corelane_runtime::Counter;

/// Buckets within a power of two, as a power of two.
const PARTS_LOG2: u32 = 2;
const PARTS: usize = 1 << PARTS_LOG2;

/// The power of two of microseconds at which the last bucket but one ends.
const OCTAVE_MAX: u32 = 26;

/// The number of buckets; the last one has no upper bound.
pub(crate) const BUCKET_COUNT: usize = PARTS * (OCTAVE_MAX - PARTS_LOG2 + 1) as usize + 1;

/// Durations that one shard writes and others read.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: [Counter; BUCKET_COUNT],
    sum_nanos: Counter,
}

impl Default for Histogram {
    fn default() -> Histogram {
        let counts = std::array::from_fn(|_| Counter::default());
        Histogram { counts, sum_nanos: Counter::default() }
    }
}

impl Histogram {
    /// Counts `count` things that took the same time. Only the shard that owns it may call this.
    pub(crate) fn record(&self, duration: Duration, count: u64) {
        self.counts[bucket(duration)].add(count);
        self.sum_nanos.add((duration.as_nanos() as u64).saturating_mul(count));
    }
}

/// The bucket whose bounds are `lower < duration <= upper`.
fn bucket(duration: Duration) -> usize {
    // In microseconds, rounded up, less one: what is exactly at a bound belongs below it.
    let micros = (duration.as_nanos() as u64).saturating_sub(1) / 1000;
    if micros < PARTS as u64 {
        return micros as usize;
    }
    let octave = micros.ilog2();
    if octave >= OCTAVE_MAX {
        return BUCKET_COUNT - 1;
    }
    let part = (micros >> (octave - PARTS_LOG2)) as usize & (PARTS - 1);
    PARTS * (octave - PARTS_LOG2 + 1) as usize + part
}

/// The upper bound of a bucket; `None` for the last one.
pub(crate) fn upper_bound(bucket: usize) -> Option<Duration> {
    if bucket < PARTS {
        return Some(Duration::from_micros(bucket as u64 + 1));
    }
    if bucket >= BUCKET_COUNT - 1 {
        return None;
    }
    let (octave, part) = (bucket / PARTS - 1, bucket % PARTS);
    Some(Duration::from_micros(((PARTS + part + 1) as u64) << octave))
}

/// What a histogram held at one moment, or what several held together, or what came between two
/// moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Durations {
    counts: [u64; BUCKET_COUNT],
    pub(crate) sum: Duration,
}

impl Default for Durations {
    fn default() -> Durations {
        Durations { counts: [0; BUCKET_COUNT], sum: Duration::ZERO }
    }
}

impl Durations {
    pub(crate) fn add(&mut self, histogram: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(&histogram.counts) {
            *sum += count.value();
        }
        self.sum += Duration::from_nanos(histogram.sum_nanos.value());
    }

    pub(crate) fn merge(&mut self, other: &Durations) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.sum += other.sum;
    }

    /// What has come since `earlier`.
    pub(crate) fn since(&self, earlier: &Durations) -> Durations {
        let difference = |index: usize| self.counts[index].saturating_sub(earlier.counts[index]);
        let sum = self.sum.saturating_sub(earlier.sum);
        Durations { counts: std::array::from_fn(difference), sum }
    }

    pub(crate) fn counts(&self) -> &[u64] {
        &self.counts
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many took at most `2^octave` microseconds.
    pub(crate) fn count_to_octave(&self, octave: u32) -> u64 {
        let end = match octave {
            0..=PARTS_LOG2 => 1 << octave,
            _ => PARTS * (octave - PARTS_LOG2 + 1) as usize,
        };
        self.counts[..end.min(BUCKET_COUNT)].iter().sum()
    }

    /// The duration that a part `quantile` of all did not exceed, `0 < quantile <= 1`, as if each
    /// bucket were evenly filled; `None` where there are none.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<Duration> {
        let rank = quantile * self.count() as f64;
        let (mut before, mut lower) = (0.0, Duration::ZERO);
        for (index, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = *count as f64;
            if index > 0 {
                lower = upper_bound(index - 1).unwrap_or(lower);
            }
            if before + count >= rank {
                let width = upper_bound(index).map_or(Duration::ZERO, |upper| upper - lower);
                return Some(lower + width.mul_f64(((rank - before) / count).clamp(0.0, 1.0)));
            }
            before += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_within_its_bounds() {
        let bounds = (0..BUCKET_COUNT).map_while(upper_bound).collect::<Vec<_>>();
        assert_eq!(bounds.len(), BUCKET_COUNT - 1);
        assert_eq!(bounds.last(), Some(&Duration::from_micros(1 << OCTAVE_MAX)));
        assert!(bounds.is_sorted_by(|lower, upper| lower < upper), "{bounds:?}");
        let nano = Duration::from_nanos(1);
        for (index, bound) in bounds.iter().enumerate() {
            assert_eq!(bucket(*bound), index, "{bound:?}");
            assert_eq!(bucket(*bound + nano), index + 1, "{bound:?} and more");
        }
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::from_secs(1 << 40)), BUCKET_COUNT - 1);
    }

    #[test]
    fn quantiles_lie_between_the_bounds() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(10), 98);
        histogram.record(Duration::from_millis(4), 1);
        histogram.record(Duration::from_secs(100), 1);
        let mut durations = Durations::default();
        durations.add(&histogram);
        assert_eq!(durations.count(), 100);
        assert_eq!(durations.sum, Duration::from_micros(980) + Duration::from_millis(100_004));
        let within = |quantile: f64, lower: u64, upper: u64| {
            let micros = durations.quantile(quantile).expect("some").as_micros() as u64;
            assert!((lower..=upper).contains(&micros), "{quantile}: {micros} us");
        };
        within(0.5, 8, 10);
        within(0.98, 9, 10);
        within(0.99, 3584, 4096);
        within(1.0, 1 << 26, 1 << 26);
        assert_eq!(Durations::default().quantile(0.5), None);
        assert_eq!(durations.since(&durations).count(), 0);
    }

    #[test]
    fn octaves_add_up() {
        let histogram = Histogram::default();
        for octave in 0..=OCTAVE_MAX {
            histogram.record(Duration::from_micros(1 << octave), 1);
        }
        let mut durations = Durations::default();
        durations.add(&histogram);
        for octave in 0..=OCTAVE_MAX {
            assert_eq!(durations.count_to_octave(octave), u64::from(octave) + 1, "2^{octave} us");
        }
    }
}
