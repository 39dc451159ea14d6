//! The queue against a disk, devices and crashes that exist only in memory and in virtual time.

mod chaos;
mod life;
mod world;
