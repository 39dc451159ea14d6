//! The probes: what is tried, and which lines of the unit forbid it.
//!
//! They are in Perl, which every Debian has, and which can make any system call by its number (those of x86-64). A probe sets
//! `$ok`; where it does not, the number of the error is its answer.

/// One thing to try.
pub(super) struct Probe {
    pub(super) name: &'static str,
    /// Lines of the unit without which it succeeds.
    pub(super) by: &'static [&'static str],
    /// Errors that are the right ones; 255 where it is no call that fails, but a state that is found.
    pub(super) denied: &'static [i32],
    pub(super) perl: &'static str,
    pub(super) holds: Holds,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Everywhere,
    /// Earlier systemd is built without it.
    SinceTrixie,
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const EROFS: i32 = 30;
const EAFNOSUPPORT: i32 = 97;
const STATE: i32 = 255;

const fn probe(
    name: &'static str,
    by: &'static [&'static str],
    denied: &'static [i32],
    perl: &'static str,
) -> Probe {
    Probe {
        name,
        by,
        denied,
        perl,
        holds: Holds::Everywhere,
    }
}

/// What a system call filter brings with it for a user without rights.
const FILTERS: &[&str] = &[
    "NoNewPrivileges",
    "SystemCallFilter",
    "SystemCallArchitectures",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "MemoryDenyWriteExecute",
    "LockPersonality",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectKernelLogs",
    "ProtectClock",
    "ProtectHostname",
];

pub(super) const PROBES: &[Probe] = &[
    probe(
        "write-outside",
        &["ProtectSystem"],
        &[EROFS],
        "$ok = open(F, '>', '/opt/open/written-$$');",
    ),
    probe(
        "read-home",
        &["ProtectHome"],
        &[ENOENT, EACCES],
        "$ok = open(F, '<', '/home' . '/probe');",
    ),
    probe(
        "read-tmp",
        &["PrivateTmp"],
        &[ENOENT],
        "$ok = open(F, '<', '/tmp/probe');",
    ),
    probe(
        "read-srv",
        &["InaccessiblePaths"],
        &[ENOENT, EACCES],
        "$ok = open(F, '<', '/srv/open/probe');",
    ),
    probe(
        "write-shared-memory",
        &["InaccessiblePaths"],
        &[EACCES, EROFS],
        "$ok = open(F, '>', \"/dev/shm/probe-$$\");",
    ),
    probe(
        "execute",
        &["NoExecPaths", "ExecPaths"],
        &[EACCES],
        "exec('/usr/bin/true');",
    ),
    probe(
        "open-a-device",
        &["DevicePolicy", "DeviceAllow", "ProtectClock"],
        &[EPERM],
        // A device without a driver: the rule has let it through.
        "$ok = open(F, '+<', '/dev/probe') || $! == 6 || $! == 19;",
    ),
    probe(
        "another-address-family",
        &["RestrictAddressFamilies"],
        &[EAFNOSUPPORT],
        "$ok = socket(S, 16, 3, 0);",
    ),
    Probe {
        holds: Holds::SinceTrixie,
        ..probe(
            "listen-on-a-port",
            &["SocketBindDeny"],
            &[EPERM],
            "socket(S, 2, 1, 0); $ok = bind(S, pack('Sna4x8', 2, 2575, pack('C4', 127, 0, 0, 1)));",
        )
    },
    probe(
        "new-namespace",
        &["RestrictNamespaces"],
        &[EPERM],
        "$ok = syscall(272, 0x10000000) == 0;",
    ),
    probe(
        "writable-code",
        &["MemoryDenyWriteExecute"],
        &[EPERM, EACCES],
        "$ok = syscall(9, 0, 4096, 7, 0x22, -1, 0) != -1;",
    ),
    probe(
        "personality",
        &["LockPersonality"],
        &[EPERM],
        "$ok = syscall(135, 0x0040000) != -1;",
    ),
    // The priority is too high: the filters have let it through.
    probe(
        "real-time",
        &["RestrictRealtime", "SystemCallFilter"],
        &[EPERM],
        "$p = pack('i', 1000); syscall(144, 0, 1, $p); $ok = $! == 22;",
    ),
    probe(
        "set-user-id",
        &["RestrictSUIDSGID"],
        &[EPERM],
        "$f = \"$ENV{STATE_DIRECTORY}/suid-$$\"; open(F, '>', $f) or die; close(F); $ok = chmod(04755, $f);",
    ),
    // There is no such process: the filter has let it through.
    probe(
        "trace",
        &["SystemCallFilter"],
        &[EPERM],
        "syscall(101, 16, 999999999, 0, 0); $ok = $! == 3;",
    ),
    probe(
        "limits",
        &["SystemCallFilter"],
        &[EPERM],
        "$l = pack('QQ', 1000, 1000); $ok = syscall(160, 7, $l) == 0;",
    ),
    probe(
        "keys",
        &["SystemCallFilter"],
        &[EPERM],
        "$ok = syscall(250, 0, -3, 1) != -1;",
    ),
    // No entries at all is refused by the call itself.
    probe(
        "io-uring",
        &["SystemCallFilter"],
        &[EPERM],
        "$p = \"\\0\" x 120; syscall(425, 0, $p); $ok = $! == 22;",
    ),
    probe(
        "another-process",
        &["ProtectProc"],
        &[ENOENT],
        "$ok = open(F, '<', '/proc/1/cmdline');",
    ),
    probe(
        "kernel-state",
        &["ProcSubset"],
        &[ENOENT],
        "$ok = open(F, '<', '/proc/meminfo');",
    ),
    probe(
        "kernel-modules",
        &["ProtectKernelModules"],
        &[EACCES],
        "$ok = opendir(D, '/usr/lib/modules');",
    ),
    probe(
        "control-groups",
        &["ProtectControlGroups"],
        &[STATE],
        "open(F, '<', '/proc/self/mountinfo'); $ok = grep(m{ /sys/fs/cgroup rw}, <F>); $! = 0;",
    ),
    probe(
        "shared-ipc",
        &["PrivateIPC"],
        &[STATE],
        "$ok = readlink('/proc/self/ns/ipc') eq '@IPC@'; $! = 0;",
    ),
    probe(
        "capabilities",
        &["CapabilityBoundingSet"],
        &[STATE],
        "open(F, '<', '/proc/self/status'); $ok = grep(/^CapBnd:.*[1-9a-f]/, <F>); $! = 0;",
    ),
    probe(
        "new-privileges",
        FILTERS,
        &[STATE],
        "open(F, '<', '/proc/self/status'); $ok = grep(/^NoNewPrivs:\\s+0/, <F>); $! = 0;",
    ),
    probe(
        "readable-files",
        &["UMask"],
        &[STATE],
        "$f = \"$ENV{STATE_DIRECTORY}/mask-$$\"; open(F, '>', $f) or die; $ok = (stat $f)[2] & 077; $! = 0;",
    ),
    probe(
        "core-dump",
        &["LimitCORE"],
        &[STATE],
        "open(F, '<', '/proc/self/limits'); $ok = !grep(/^Max core file size\\s+0\\s+0/, <F>); $! = 0;",
    ),
];

pub(super) const SERIAL: Probe = probe(
    "open-a-serial-line",
    &[],
    &[],
    // No such port on this machine: the rule has let it through.
    "$ok = open(F, '+<', '/dev/ttyS1') || $! == 6 || $! == 5 || $! == 19;",
);
