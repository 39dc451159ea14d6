//! In which order messages came to the devices.

use std::collections::HashMap;

use super::rules::Judge;
use super::{Break, Receipt};

impl Judge<'_> {
    /// A push that the cloud sent first has the lower number, device by device.
    pub(super) fn numbered(&self, breaks: &mut Vec<Break>) {
        let mut last: HashMap<&str, i64> = HashMap::new();
        // Where nobody wrote down when the cloud took a push, nobody knows its order either.
        for kept in self.story.kept.iter().filter(|kept| kept.at > 0) {
            let Some(push) = self.of_callback(&kept.callback) else {
                continue;
            };
            let before = last.get(kept.device.as_str()).copied();
            // A refusal leaves no row. If it is lost on its way the cloud sends the push again, after later ones.
            if kept.sent < 2 || !self.refuses_when_away(&kept.device) {
                last.insert(&kept.device, push);
            }
            if let Some(after) = before.filter(|before| *before > push) {
                breaks.push(Break::OutOfOrder {
                    device: kept.device.clone(),
                    key: None,
                    push,
                    after,
                });
            }
        }
    }

    pub(super) fn order(&self, received: &[(&Receipt, i64)], breaks: &mut Vec<Break>) {
        let out_of_turn = self.ever_out_of_turn();
        let mut last_of_key: HashMap<(&str, &str), i64> = HashMap::new();
        let mut last_of_device: HashMap<&str, i64> = HashMap::new();
        let mut check = |last: Option<i64>, push: i64, device: &str, key: Option<&str>| {
            if let Some(after) = last.filter(|last| *last > push) {
                breaks.push(Break::OutOfOrder {
                    device: device.into(),
                    key: key.map(Into::into),
                    push,
                    after,
                });
            }
        };
        for (receipt, push) in received {
            let device = receipt.device.as_str();
            let Some(push) = self.push(*push) else {
                continue;
            };
            for key in &push.order_keys {
                let last = last_of_key.insert((device, key), push.id);
                check(last, push.id, device, Some(key));
            }
            if !out_of_turn.contains(&push.id) {
                check(
                    last_of_device.insert(device, push.id),
                    push.id,
                    device,
                    None,
                );
            }
        }
    }
}
