//! Comparing short texts, such as hosts and paths, without a call.

/// Whether two texts are the same.
///
/// Of up to 32 octets: the first ones and the last ones, at once, which may overlap. The call of
/// `memcmp` that this is for all others takes longer to get there than to compare.
#[inline(always)]
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && match one.len() {
            4..8 => has_same_ends::<4>(one, other),
            8..16 => has_same_ends::<8>(one, other),
            16..=32 => has_same_ends::<16>(one, other),
            _ => one == other,
        }
}

#[inline(always)]
fn has_same_ends<const N: usize>(one: &[u8], other: &[u8]) -> bool {
    one.first_chunk::<N>() == other.first_chunk::<N>()
        && one.last_chunk::<N>() == other.last_chunk::<N>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_octet_that_differs_is_seen_wherever_it_stands() {
        for size in 0..70 {
            let text: Vec<u8> = (0..size).map(|index| index as u8).collect();
            assert!(is_same(&text, &text.clone()), "{size} octets");
            assert!(!is_same(&text, &[text.as_slice(), b"a"].concat()));
            for at in 0..size {
                let mut other = text.clone();
                other[at] ^= 0x80;
                assert!(!is_same(&text, &other), "{at} of {size}");
            }
        }
    }
}
