//! The queue against a disk, devices and crashes that exist only in memory and in virtual time.

mod backlog;
mod chaos;
mod claim;
mod disk;
mod doubt;
mod life;
mod news;
mod world;
