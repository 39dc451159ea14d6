/*
 * What happened, in its order, as a file of entries: a head and its bytes, numbers as the machine has them.
 *
 *   kind  1 byte    one of the letters below
 *   file  1 byte    number of a file of the state directory, from 1; 0 for none
 *   pair  4 bytes   own port and the other side's port, for what was sent
 *   size  4 bytes   of the bytes that follow
 *   at    8 bytes   where it was written, or the new length, or the number of the new name
 *
 * An entry and what it tells of happen under one lock, so that the order of the entries is the order of events. A sync
 * has two: only what was written before the first is safe after the second.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>

enum {
    RECORD_LIFE = 'L',        /* a process began */
    RECORD_NAMED = 'N',       /* the number `file` means the file whose name follows */
    RECORD_CREATED = 'C',
    RECORD_WRITTEN = 'W',
    RECORD_TRUNCATED = 'T',
    RECORD_SYNC_BEGAN = 'B',
    RECORD_SYNC_ENDED = 'E',
    RECORD_UNLINKED = 'U',
    RECORD_RENAMED = 'R',
    RECORD_SENT = 'S',        /* the bytes that the kernel took for a TCP connection */
};

#define MAX_NAMES 64
static char *names[MAX_NAMES];
static int names_count;
static int recording = -1;
static pthread_mutex_t recorder = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t namer = PTHREAD_MUTEX_INITIALIZER;

static void record_to(const char *path) {
    recording = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void record_lock(void) {
    if (recording >= 0) pthread_mutex_lock(&recorder);
}

static void record_unlock(void) {
    if (recording >= 0) pthread_mutex_unlock(&recorder);
}

static void put(char kind, int file, uint32_t pair, uint64_t at, const struct iovec *pieces, size_t count, size_t size) {
    unsigned char head[18] = { (unsigned char)kind, (unsigned char)file };
    uint32_t length = (uint32_t)size;
    memcpy(head + 2, &pair, 4);
    memcpy(head + 6, &length, 4);
    memcpy(head + 10, &at, 8);
    int before = errno;
    if (syscall(SYS_write, recording, head, sizeof head) != sizeof head) abort();
    for (size_t piece = 0; piece < count && size > 0; piece++) {
        size_t part = pieces[piece].iov_len < size ? pieces[piece].iov_len : size;
        if (syscall(SYS_write, recording, pieces[piece].iov_base, part) != (long)part) abort();
        size -= part;
    }
    errno = before;
}

static void record(char kind, int file, uint64_t at, const void *bytes, size_t size) {
    struct iovec piece = { (void *)bytes, size };
    if (recording >= 0) put(kind, file, 0, at, &piece, 1, size);
}

static void record_life(void) {
    record_lock();
    record(RECORD_LIFE, 0, 0, NULL, 0);
    record_unlock();
}

/* The number of a name; a new name gets the next one. */
static int record_name(const char *name) {
    pthread_mutex_lock(&namer);
    int number = 0;
    while (number < names_count && strcmp(names[number], name)) number++;
    if (number == MAX_NAMES) abort();
    if (number == names_count) {
        names[names_count++] = strdup(name);
        record_lock();
        record(RECORD_NAMED, number + 1, 0, name, strlen(name));
        record_unlock();
    }
    pthread_mutex_unlock(&namer);
    return number + 1;
}

static const char *record_named(int file) {
    return file > 0 && file <= names_count ? names[file - 1] : "-";
}

/* Notes what the kernel took for a TCP connection. */
static void record_sent(int fd, const struct iovec *pieces, size_t count, ssize_t sent) {
    if (recording < 0 || sent <= 0) return;
    struct sockaddr_in own, other;
    socklen_t own_size = sizeof own, other_size = sizeof other;
    int before = errno;
    int is_tcp = getsockname(fd, (struct sockaddr *)&own, &own_size) == 0 && own.sin_family == AF_INET
        && getpeername(fd, (struct sockaddr *)&other, &other_size) == 0;
    errno = before;
    if (!is_tcp) return;
    uint32_t pair = (uint32_t)ntohs(own.sin_port) << 16 | ntohs(other.sin_port);
    put(RECORD_SENT, 0, pair, 0, pieces, count, (size_t)sent);
}
