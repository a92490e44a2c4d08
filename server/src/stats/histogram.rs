//! How long things took: counts in buckets that never change, so that shards and moments add up.
//!
//! The buckets are exponential, four to each power of two of a second, from a microsecond to an
//! hour: those of a native histogram of Prometheus in schema 2, so that they are told as they are.
//! A value is known to within a fifth; powers of two of a second are bounds of buckets.

use std::time::Duration;

use corelane_runtime::Counter;

/// Buckets within a power of two, as a power of two: the schema of a native histogram.
pub(crate) const SCHEMA: u32 = 2;
const PARTS: usize = 1 << SCHEMA;

/// The first bucket ends at, and the last one begins at, two to these powers, in seconds.
pub(crate) const OCTAVE_MIN: i32 = -20;
const OCTAVE_MAX: i32 = 12;

/// The number of buckets; the last one has no upper bound.
pub(crate) const BUCKET_COUNT: usize = BOUND_COUNT + 1;
const BOUND_COUNT: usize = PARTS * (OCTAVE_MAX - OCTAVE_MIN) as usize + 1;

/// The upper bounds in nanoseconds, rounded down: a duration is whole nanoseconds.
const BOUNDS: [u64; BOUND_COUNT] = {
    // Two to the power of no, one, two and three quarters.
    const ROOTS: [f64; PARTS] =
        [1.0, 1.189_207_115_002_721, std::f64::consts::SQRT_2, 1.681_792_830_507_429];
    let mut bounds = [0; BOUND_COUNT];
    let mut index = 0;
    while index < BOUND_COUNT {
        let octaves = (1u64 << (index / PARTS)) as f64;
        let first = 1e9 / (1u64 << -OCTAVE_MIN) as f64;
        bounds[index] = (first * octaves * ROOTS[index % PARTS]) as u64;
        index += 1;
    }
    bounds
};

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
    let nanos = duration.as_nanos() as u64;
    BOUNDS.partition_point(|bound| *bound < nanos)
}

/// The upper bound of a bucket; `None` for the last one.
pub(crate) fn upper_bound(bucket: usize) -> Option<Duration> {
    BOUNDS.get(bucket).map(|nanos| Duration::from_nanos(*nanos))
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

    /// How many took at most `2^octave` seconds.
    pub(crate) fn count_to_octave(&self, octave: i32) -> u64 {
        let octaves = usize::try_from(octave - OCTAVE_MIN).unwrap_or(0);
        self.counts.iter().take(PARTS * octaves + 1).sum()
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
        let nano = Duration::from_nanos(1);
        for (index, bound) in bounds.iter().enumerate() {
            // What Prometheus takes for the bound, from the schema and the bucket's number alone.
            let power = f64::from(OCTAVE_MIN) + index as f64 / PARTS as f64;
            let exact = (power.exp2() * 1e9) as u64;
            assert!((bound.as_nanos() as u64).abs_diff(exact) <= 1, "{index}: {bound:?}");
            assert_eq!(bucket(*bound), index, "{bound:?}");
            assert_eq!(bucket(*bound + nano), index + 1, "{bound:?} and more");
        }
        assert_eq!(bounds.last(), Some(&Duration::from_secs(1 << OCTAVE_MAX)));
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::from_secs(1 << 30)), BUCKET_COUNT - 1);
    }

    #[test]
    fn quantiles_lie_between_the_bounds() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(10), 98);
        histogram.record(Duration::from_millis(4), 1);
        histogram.record(Duration::from_secs(5000), 1);
        let mut durations = Durations::default();
        durations.add(&histogram);
        assert_eq!(durations.count(), 100);
        assert_eq!(durations.sum, Duration::from_micros(5_000_004_980));
        let within = |quantile: f64, lower: u64, upper: u64| {
            let micros = durations.quantile(quantile).expect("some").as_micros() as u64;
            assert!((lower..=upper).contains(&micros), "{quantile}: {micros} us");
        };
        within(0.5, 9, 11);
        within(0.98, 9, 11);
        within(0.99, 3906, 4646);
        within(1.0, 4_096_000_000, 4_096_000_000);
        assert_eq!(Durations::default().quantile(0.5), None);
        assert_eq!(durations.since(&durations).count(), 0);
    }

    #[test]
    fn octaves_add_up() {
        let histogram = Histogram::default();
        for octave in OCTAVE_MIN..=OCTAVE_MAX {
            // Rounded down, as the bound is.
            let nanos = (f64::from(octave).exp2() * 1e9) as u64;
            histogram.record(Duration::from_nanos(nanos), 1);
        }
        let mut durations = Durations::default();
        durations.add(&histogram);
        for (index, octave) in (OCTAVE_MIN..=OCTAVE_MAX).enumerate() {
            assert_eq!(durations.count_to_octave(octave), index as u64 + 1, "2^{octave} s");
        }
    }
}
