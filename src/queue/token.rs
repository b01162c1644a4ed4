//! The promise that a request will be answered.

/// A request taken from a ring and not answered yet.
///
/// It is consumed by [`Ring::complete`](super::Ring::complete), or by [`Token::abandon`] where the
/// ring can no longer be written. Dropping it otherwise would leave the guest waiting for ever; debug
/// builds stop there.
#[derive(Debug)]
#[must_use = "a request that is never completed hangs the guest"]
pub struct Token {
    head: u16,
    completed: bool,
}

impl Token {
    /// A token for the chain that begins at descriptor `head`.
    pub(super) fn new(head: u16) -> Self {
        Token { head, completed: false }
    }

    /// Gives the head back to the one who completes the request.
    pub(super) fn complete(mut self) -> u16 {
        self.completed = true;
        self.head
    }

    /// Lets the request go unanswered: its ring is broken or gone.
    pub fn abandon(mut self) {
        self.completed = true;
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        debug_assert!(
            self.completed || std::thread::panicking(),
            "request {} was dropped",
            self.head
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completed_tokens_drop_quietly() {
        Token::new(1).abandon();
        assert_eq!(Token::new(2).complete(), 2);
    }

    #[test]
    #[cfg(debug_assertions)]
    fn a_forgotten_request_is_caught() {
        assert!(std::panic::catch_unwind(|| drop(Token::new(3))).is_err());
    }
}
