//! Changes of what the queue works with: the configuration, the numbers of devices, the agent's switch.

use std::collections::HashSet;

use agent_core::push::DeviceNo;
use agent_core::queue::{AuditRow, Row, Turn};

use super::writer::{Batch, Writer};
use super::{Configuration, Lines, Request, database};

impl<L: Lines> Writer<L> {
    /// Records the agent's switch, where that is still to be done.
    pub(super) fn save_switch(&mut self, batch: &mut Batch) -> rusqlite::Result<()> {
        let Some(agent) = self.unsaved.take() else {
            return Ok(());
        };
        batch.again.push(Request::Switch(agent));
        database::remember_switch(&self.connection, agent)
    }

    /// A change of what the queue works with.
    pub(super) fn change(
        &mut self,
        change: Request,
        turn: &mut Turn,
        batch: &mut Batch,
    ) -> rusqlite::Result<()> {
        match change {
            Request::Switch(agent) => {
                self.unsaved = Some(agent);
                // In force also where it cannot be recorded now.
                self.queue.switch(agent, turn);
                self.save_switch(batch)?;
            }
            Request::Configure(configuration, reply) => {
                self.turn_upward(configuration.upward.clone(), turn.now.utc, batch)?;
                self.configure(configuration, turn);
                batch.reply(reply, ());
            }
            Request::Upload(change) => {
                batch.again.push(Request::Upload(change.clone()));
                self.change_uploads(&change, turn.now.utc, batch)?;
            }
            Request::Alarms(asked) => self.record_alarms(asked, turn.now, batch)?,
            Request::Number(name, reply) => {
                batch.reply(reply, database::number(&self.connection, &name)?);
            }
            Request::Task(asked) => self.task(asked, turn, batch)?,
            _ => {}
        }
        Ok(())
    }

    fn configure(&mut self, configuration: Configuration, turn: &mut Turn) {
        self.queue.limit_to(configuration.limit);
        self.queue.configure(configuration.devices.clone(), turn);
        if let Some(asked) = &configuration.asked {
            turn.rows.push(Row::Audit(AuditRow {
                at: turn.now.utc,
                who: asked.who.clone(),
                verb: "reload",
                push: None,
                reason: Some(asked.changes.clone()),
            }));
        }
        self.decided.push(configuration);
    }

    /// Keeps what is in force now for a rebuild; a device that is not configured any more stays, and is off.
    pub(super) fn remember(&mut self, configuration: Configuration) {
        let devices = configuration.devices;
        self.wiring.limit = configuration.limit;
        self.space.keep_within(configuration.bounds);
        self.wiring.upward = configuration.upward;
        let known: HashSet<DeviceNo> = devices.iter().map(|(no, _)| *no).collect();
        let before = std::mem::replace(&mut self.wiring.devices, devices);
        let gone = before.into_iter().filter(|(no, _)| !known.contains(no));
        self.wiring.devices.extend(gone.map(|(no, mut device)| {
            device.enabled = false;
            (no, device)
        }));
    }
}
