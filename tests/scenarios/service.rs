//! What the service manager is told, heard by a test in its place.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use scenarios::bench::{DeviceSetup, Setup};

/// Listens where the service manager would.
struct Manager(mpsc::Receiver<String>);

impl Manager {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket binds");
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        Self(messages)
    }

    /// Hears everything up to a message with this line.
    fn hears(&self, line: &str) {
        loop {
            let message = self.0.recv_timeout(Duration::from_mins(1));
            assert!(message.is_ok(), "never heard {line}");
            if message.is_ok_and(|said| said.lines().any(|said| said == line)) {
                return;
            }
        }
    }
}

#[test]
fn the_service_manager_hears_of_a_long_start_of_readiness_of_life_and_of_the_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("notify");
    let manager = Manager::listen(&socket);
    let mut bench = Setup::new()
        .device(DeviceSetup::new("chem"))
        .environment("NOTIFY_SOCKET", &socket.to_string_lossy())
        .environment("WATCHDOG_USEC", "2000000")
        .start();
    manager.hears("STATUS=opening the database");
    manager.hears("EXTEND_TIMEOUT_USEC=60000000");
    manager.hears("READY=1");
    manager.hears("STATUS=live");
    manager.hears("WATCHDOG=1");
    manager.hears("WATCHDOG=1");
    assert!(bench.stop_agent().success());
    manager.hears("STOPPING=1");
}
