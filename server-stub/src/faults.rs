//! What can go wrong on purpose. Tests set it while the stub runs; by default nothing does.

use std::time::Duration;

/// Faults in force.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fault that is on or off by itself"
)]
pub struct Faults {
    /// Refuse requests for a token.
    pub refuse_tokens: Option<RefuseTokens>,
    /// Refuse `agent:connect:request` with this `agent:error`.
    pub refuse_connect: Option<String>,
    /// Wait before answering `agent:connect:request`.
    pub delay_connect: Option<Duration>,
    /// Take the connect request, but never say so.
    pub drop_connect_response: bool,
    /// Neither send heartbeats nor answer any.
    pub no_heartbeats: bool,
    /// Send every push twice.
    pub duplicate_pushes: bool,
    /// Send every push this much later.
    pub delay_pushes: Option<Duration>,
    /// Which form callbacks have.
    pub callbacks: CallbackForm,
    /// Answer what an agent sends up without a `statusCode`.
    pub omit_status_code: bool,
    /// Answer what an agent sends up with a JSON object as body.
    pub object_body: bool,
}

/// The next requests for a token that are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefuseTokens {
    /// How many; it counts down.
    pub times: u32,
    /// HTTP status of the refusal; 400 comes as an OAuth error, anything else as an `OperationOutcome`.
    pub status: u16,
}

/// Both forms are in use; an agent must echo either.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CallbackForm {
    /// `Agent/<id>-<uuid>`
    #[default]
    Agent,
    /// `agent:cb:<host>:<uuid>`
    Host,
}

/// How the stub ends websockets when a test says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// With a close frame of this code, such as 1001.
    Code(u16),
    /// Without a close frame; the peer sees 1006.
    Abort,
}

impl Faults {
    /// Takes one refusal of a token, if there is one left.
    pub(crate) fn take_token_refusal(&mut self) -> Option<u16> {
        let refusal = self.refuse_tokens.as_mut()?;
        refusal.times = refusal.times.checked_sub(1)?;
        Some(refusal.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_tokens_count_down() {
        let refuse_tokens = Some(RefuseTokens {
            times: 1,
            status: 503,
        });
        let mut faults = Faults {
            refuse_tokens,
            ..Faults::default()
        };
        assert_eq!(faults.take_token_refusal(), Some(503));
        assert_eq!(faults.take_token_refusal(), None);
    }
}
