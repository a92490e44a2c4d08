//! What a response has to be like, checked as its bytes pass by.

use crate::failure::Failure;

/// What every response of a run has to be like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expectation {
    /// One of these; any 2xx where none is given.
    pub(crate) statuses: Vec<u16>,
    /// Of the body, in bytes.
    pub(crate) length: Option<u64>,
    /// Exactly this.
    pub(crate) body: Option<Vec<u8>>,
}

/// The response that is arriving, as far as it was checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Check {
    length: u64,
    failure: Option<Failure>,
}

impl Expectation {
    /// Begins with a response.
    pub(crate) fn begin(&self, status: u16) -> Check {
        let is_expected = if self.statuses.is_empty() {
            (200..300).contains(&status)
        } else {
            self.statuses.contains(&status)
        };
        Check { length: 0, failure: (!is_expected).then_some(Failure::Status) }
    }

    /// Goes on with a piece of the body.
    pub(crate) fn body(&self, check: &mut Check, bytes: &[u8]) {
        if let Some(body) = &self.body {
            let at = usize::try_from(check.length).unwrap_or(usize::MAX);
            let is_same = body.get(at..).is_some_and(|rest| rest.starts_with(bytes));
            if !is_same && check.failure.is_none() {
                check.failure = Some(Failure::Body);
            }
        }
        check.length += bytes.len() as u64;
    }

    /// The response is complete; `has_body` is false for an answer to HEAD, which has none.
    ///
    /// # Errors
    /// The first thing about it that was not as expected.
    pub(crate) fn end(&self, check: Check, has_body: bool) -> Result<(), Failure> {
        if let Some(failure) = check.failure {
            return Err(failure);
        }
        if !has_body {
            return Ok(());
        }
        if self.length.is_some_and(|length| length != check.length) {
            return Err(Failure::Length);
        }
        // Every piece was a prefix of what was left; nothing may be left now.
        let is_short = |body: &Vec<u8>| check.length < body.len() as u64;
        if self.body.as_ref().is_some_and(is_short) {
            return Err(Failure::Body);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expectation: &Expectation, status: u16, body: &str, expected: Result<(), Failure>) {
        for piece in 1..=body.len().max(1) {
            let mut check = expectation.begin(status);
            for piece in body.as_bytes().chunks(piece) {
                expectation.body(&mut check, piece);
            }
            assert_eq!(expectation.end(check, true), expected, "{status} {body:?}");
        }
    }

    #[test]
    fn without_expectations_any_success_will_do() {
        let any = Expectation::default();
        check(&any, 200, "x", Ok(()));
        check(&any, 204, "", Ok(()));
        for status in [199, 301, 404, 500] {
            check(&any, status, "x", Err(Failure::Status));
        }
    }

    #[test]
    fn each_expectation_is_checked() {
        let expectation = Expectation { statuses: vec![404, 200], length: Some(5), body: None };
        check(&expectation, 404, "hello", Ok(()));
        check(&expectation, 201, "hello", Err(Failure::Status));
        check(&expectation, 200, "hell", Err(Failure::Length));
        let expectation = Expectation { body: Some(b"hello".to_vec()), ..Expectation::default() };
        check(&expectation, 200, "hello", Ok(()));
        for body in ["", "hell", "hellO", "Hello", "hello!", "xxxxxxxx"] {
            check(&expectation, 200, body, Err(Failure::Body));
        }
        let head = expectation.begin(200);
        assert_eq!(expectation.end(head, false), Ok(()));
    }
}
