/*
 * Stands between the agent and its disk: preloaded, it sees every call on files below one directory and lets it pass,
 * fails it, delays it, drops it or writes it down, as a plan says. Other files are not touched.
 *
 * The plan is a text file named by WARDPOST_SHIM, read once at start. A word a line, with its values:
 *
 *   state PATH            the directory whose files are meant; without it nothing is done
 *   calls FILE            appends a line for every counted call: number, kind, file, and the errno it was given
 *   count KIND...         which kinds of call are counted and may fail; all if not said
 *   fail N ERRNO once     the N-th counted call fails
 *   fail N ERRNO on       it and every later one fails, until a file PLAN.lifted exists
 *   fail 1 ERRNO armed    every call fails while a file PLAN.armed exists
 *   fail N ERRNO short    it fails, or if it is a write, half of it is written and the next write fails
 *   slow MICROSECONDS     every sync takes so much longer
 *   drop                  syncs say that they did, and do nothing
 *   record FILE           appends what happened to the files and what was sent to whom (see record.h)
 *
 * SQLite is linked into the agent but calls the C library like everything else, so its calls are seen. Stores into
 * mapped memory and system calls made without the library are not; the agent uses neither for what must last.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "record.h"

enum kind { OPEN, READ, WRITE, TRUNCATE, ALLOCATE, SYNC, UNLINK, RENAME, MKDIR, LOCK, MAP, STAT, KINDS };
static const char *const KIND_NAMES[KINDS] = {
    "open", "read", "write", "truncate", "allocate", "sync", "unlink", "rename", "mkdir", "lock", "map", "stat",
};

enum persistence { ONCE, ON, ARMED, SHORT };

static struct {
    char state[PATH_MAX];
    size_t state_length;
    char lifted[PATH_MAX + 8];
    char armed[PATH_MAX + 8];
    unsigned counted;
    long fail_at;
    int error;
    enum persistence persistence;
    long slow_us;
    int drops;
    int calls;
} plan = { .counted = ~0U, .calls = -1 };

static long count;
static int owed; /* a write was cut short; the next one fails */

#define MAX_FDS 65536
/* Which file of the state directory a descriptor is: its number in the record, or 0. */
static unsigned char file_of[MAX_FDS];

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static enum persistence persistence(const char *word) {
    return !strcmp(word, "on") ? ON : !strcmp(word, "armed") ? ARMED : !strcmp(word, "short") ? SHORT : ONCE;
}

static void read_plan(const char *path) {
    FILE *file = fopen(path, "re");
    if (!file) return;
    char line[PATH_MAX + 64];
    while (fgets(line, sizeof line, file)) {
        char text[PATH_MAX];
        char how[16];
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "state %4095[^\n]", text) == 1) {
            strcpy(plan.state, text);
            plan.state_length = strlen(text);
        } else if (sscanf(line, "calls %4095[^\n]", text) == 1) {
            plan.calls = open(text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        } else if (sscanf(line, "record %4095[^\n]", text) == 1) {
            record_to(text);
        } else if (!strncmp(line, "count ", 6)) {
            plan.counted = 0;
            for (char *word = strtok(line + 6, " "); word; word = strtok(NULL, " "))
                for (int kind = 0; kind < KINDS; kind++)
                    if (!strcmp(word, KIND_NAMES[kind])) plan.counted |= 1U << kind;
        } else if (sscanf(line, "fail %ld %d %15s", &plan.fail_at, &plan.error, how) == 3) {
            plan.persistence = persistence(how);
        } else if (sscanf(line, "slow %ld", &plan.slow_us) != 1 && !strcmp(line, "drop")) {
            plan.drops = 1;
        }
    }
    fclose(file);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("WARDPOST_SHIM");
    if (!path) return;
    snprintf(plan.lifted, sizeof plan.lifted, "%s.lifted", path);
    snprintf(plan.armed, sizeof plan.armed, "%s.armed", path);
    read_plan(path);
    record_life();
}

/* The number of the file with this path, or 0 if it is not below the state directory. */
static int numbered(const char *path) {
    if (!plan.state_length || strncmp(path, plan.state, plan.state_length)) return 0;
    const char *rest = path + plan.state_length;
    if (*rest != 0 && *rest != '/') return 0;
    return record_name(*rest ? rest + 1 : ".");
}

static int ours(int fd) {
    return fd >= 0 && fd < MAX_FDS ? file_of[fd] : 0;
}

static int exists(const char *path) {
    return syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
}

static int fails_now(long number) {
    switch (plan.persistence) {
    case ON:
        return number >= plan.fail_at && !exists(plan.lifted);
    case ARMED:
        return exists(plan.armed);
    default:
        return number == plan.fail_at;
    }
}

/* Counts a call. Returns the errno it must fail with, or 0. */
static int fault(enum kind kind, int file) {
    if (!(plan.counted >> kind & 1)) return 0;
    int before = errno;
    long number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    int fails = fails_now(number);
    if (kind == WRITE && __atomic_exchange_n(&owed, 0, __ATOMIC_SEQ_CST)) fails = 1;
    fails = fails && plan.error;
    if (plan.calls >= 0) {
        char line[PATH_MAX];
        int length = snprintf(line, sizeof line, "%ld %s %s %d\n", number, KIND_NAMES[kind], record_named(file),
                              fails ? plan.error : 0);
        syscall(SYS_write, plan.calls, line, length);
    }
    errno = before;
    return fails ? plan.error : 0;
}

/* Fails the call with `result` if the plan says so. */
#define MAY_FAIL(kind, file, result) \
    do { \
        int error_ = fault(kind, file); \
        if (error_) { \
            errno = error_; \
            return result; \
        } \
    } while (0)

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    int file = folder == AT_FDCWD || *path == '/' ? numbered(path) : 0;
    if (file) MAY_FAIL(OPEN, file, -1);
    record_lock();
    int is_new = file && flags & O_CREAT && !exists(path);
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0 && fd < MAX_FDS) {
        file_of[fd] = (unsigned char)file;
        if (is_new) record(RECORD_CREATED, file, 0, NULL, 0);
        if (file && flags & O_TRUNC) record(RECORD_TRUNCATED, file, 0, NULL, 0);
    }
    record_unlock();
    return fd;
}

static mode_t mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | __O_TMPFILE) ? (mode_t)va_arg(rest, int) : 0;
}

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = mode_of(flags, rest); \
        va_end(rest); \
        return open_at(AT_FDCWD, path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = mode_of(flags, rest); \
        va_end(rest); \
        return open_at(folder, path, flags, mode); \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

int close(int fd) {
    if (fd >= 0 && fd < MAX_FDS) file_of[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

ssize_t read(int fd, void *bytes, size_t length) {
    if (ours(fd)) MAY_FAIL(READ, ours(fd), -1);
    return syscall(SYS_read, fd, bytes, length);
}

ssize_t pread64(int fd, void *bytes, size_t length, off64_t at) {
    if (ours(fd)) MAY_FAIL(READ, ours(fd), -1);
    return syscall(SYS_pread64, fd, bytes, length, at);
}

/* Writes one piece to a file of the state directory. */
static ssize_t write_at(int fd, const void *bytes, size_t length, off64_t at) {
    int error = fault(WRITE, ours(fd));
    if (error && plan.persistence == SHORT && length > 1 && count == plan.fail_at) {
        owed = 1;
        length /= 2;
    } else if (error) {
        errno = error;
        return -1;
    }
    record_lock();
    ssize_t written = syscall(SYS_pwrite64, fd, bytes, length, at);
    if (written > 0) record(RECORD_WRITTEN, ours(fd), (uint64_t)at, bytes, (size_t)written);
    record_unlock();
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    return ours(fd) ? write_at(fd, bytes, length, at) : syscall(SYS_pwrite64, fd, bytes, length, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    return pwrite64(fd, bytes, length, at);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    if (!ours(fd)) {
        struct iovec piece = { (void *)bytes, length };
        record_lock();
        ssize_t sent = syscall(SYS_write, fd, bytes, length);
        record_sent(fd, &piece, 1, sent);
        record_unlock();
        return sent;
    }
    off64_t at = syscall(SYS_lseek, fd, 0, SEEK_CUR);
    ssize_t written = write_at(fd, bytes, length, at);
    if (written > 0) syscall(SYS_lseek, fd, written, SEEK_CUR);
    return written;
}

int ftruncate64(int fd, off64_t length) {
    if (ours(fd)) MAY_FAIL(TRUNCATE, ours(fd), -1);
    record_lock();
    int done = (int)syscall(SYS_ftruncate, fd, length);
    if (done == 0 && ours(fd)) record(RECORD_TRUNCATED, ours(fd), (uint64_t)length, NULL, 0);
    record_unlock();
    return done;
}

int ftruncate(int fd, off_t length) {
    return ftruncate64(fd, length);
}

int fallocate64(int fd, int mode, off64_t at, off64_t length) {
    if (ours(fd)) MAY_FAIL(ALLOCATE, ours(fd), -1);
    return (int)syscall(SYS_fallocate, fd, mode, at, length);
}

int fallocate(int fd, int mode, off_t at, off_t length) {
    return fallocate64(fd, mode, at, length);
}

int posix_fallocate64(int fd, off64_t at, off64_t length) {
    int error = ours(fd) ? fault(ALLOCATE, ours(fd)) : 0;
    if (error) return error;
    return syscall(SYS_fallocate, fd, 0, at, length) == 0 ? 0 : errno;
}

int posix_fallocate(int fd, off_t at, off_t length) {
    return posix_fallocate64(fd, at, length);
}

static int sync_with(long call, int fd) {
    int file = ours(fd);
    if (!file) return (int)syscall(call, fd);
    MAY_FAIL(SYNC, file, -1);
    if (plan.slow_us) {
        struct timespec more = { plan.slow_us / 1000000, plan.slow_us % 1000000 * 1000 };
        nanosleep(&more, NULL);
    }
    if (plan.drops) return 0;
    record_lock();
    record(RECORD_SYNC_BEGAN, file, 0, NULL, 0);
    record_unlock();
    int done = (int)syscall(call, fd);
    record_lock();
    if (done == 0) record(RECORD_SYNC_ENDED, file, 0, NULL, 0);
    record_unlock();
    return done;
}

int fsync(int fd) {
    return sync_with(SYS_fsync, fd);
}

int fdatasync(int fd) {
    return sync_with(SYS_fdatasync, fd);
}

int unlink(const char *path) {
    int file = numbered(path);
    if (file) MAY_FAIL(UNLINK, file, -1);
    record_lock();
    int done = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (done == 0 && file) record(RECORD_UNLINKED, file, 0, NULL, 0);
    record_unlock();
    return done;
}

int rename(const char *from, const char *to) {
    int old = numbered(from), new = numbered(to);
    if (old) MAY_FAIL(RENAME, old, -1);
    record_lock();
    int done = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (done == 0 && old && new) record(RECORD_RENAMED, old, (uint64_t)new, NULL, 0);
    record_unlock();
    return done;
}

int mkdir(const char *path, mode_t mode) {
    int file = numbered(path);
    if (file) MAY_FAIL(MKDIR, file, -1);
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

static int control(int fd, int command, void *argument) {
    int locks = command == F_SETLK || command == F_SETLKW || command == F_GETLK || command == F_OFD_SETLK;
    if (locks && ours(fd)) MAY_FAIL(LOCK, ours(fd), -1);
    return (int)syscall(SYS_fcntl, fd, command, argument);
}

#define CONTROLS(name) \
    int name(int fd, int command, ...) { \
        va_list rest; \
        va_start(rest, command); \
        void *argument = va_arg(rest, void *); \
        va_end(rest); \
        return control(fd, command, argument); \
    }
CONTROLS(fcntl)
CONTROLS(fcntl64)

void *mmap64(void *at, size_t length, int rights, int flags, int fd, off64_t from) {
    if (!(flags & MAP_ANONYMOUS) && ours(fd)) MAY_FAIL(MAP, ours(fd), MAP_FAILED);
    return (void *)syscall(SYS_mmap, at, length, rights, flags, fd, from);
}

void *mmap(void *at, size_t length, int rights, int flags, int fd, off_t from) {
    return mmap64(at, length, rights, flags, fd, from);
}

#define LOOKS(name, type) \
    int name(const char *path, type *found) { \
        REAL(name); \
        int file = numbered(path); \
        if (file) MAY_FAIL(STAT, file, -1); \
        return real(path, found); \
    }
LOOKS(stat, struct stat)
LOOKS(stat64, struct stat64)
LOOKS(lstat, struct stat)
LOOKS(lstat64, struct stat64)

int fstat64(int fd, struct stat64 *found) {
    REAL(fstat64);
    if (ours(fd)) MAY_FAIL(STAT, ours(fd), -1);
    return real(fd, found);
}

int access(const char *path, int rights) {
    int file = numbered(path);
    if (file) MAY_FAIL(STAT, file, -1);
    return (int)syscall(SYS_faccessat, AT_FDCWD, path, rights);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    return sendto(fd, bytes, length, flags, NULL, 0);
}

ssize_t sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *to, socklen_t size) {
    struct iovec piece = { (void *)bytes, length };
    record_lock();
    ssize_t sent = syscall(SYS_sendto, fd, bytes, length, flags, to, size);
    record_sent(fd, &piece, 1, sent);
    record_unlock();
    return sent;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    record_lock();
    ssize_t sent = syscall(SYS_sendmsg, fd, message, flags);
    record_sent(fd, message->msg_iov, message->msg_iovlen, sent);
    record_unlock();
    return sent;
}

ssize_t writev(int fd, const struct iovec *pieces, int pieces_count) {
    if (ours(fd)) {
        errno = ENOSYS; /* nobody writes the state directory in pieces; whoever begins to must be recorded */
        return -1;
    }
    record_lock();
    ssize_t sent = syscall(SYS_writev, fd, pieces, pieces_count);
    record_sent(fd, pieces, (size_t)pieces_count, sent);
    record_unlock();
    return sent;
}
