/*
 * Stands between the agent and its clock: preloaded, it shifts what the system clock shows, and says which boot this is.
 *
 *   WARDPOST_CLOCK   a file with the shift in seconds; it may change while the process runs
 *   WARDPOST_BOOT    a file that is read in place of the kernel's boot id
 *
 * Only CLOCK_REALTIME is shifted. The boot-time and monotonic clocks go on, as they do when a clock is set.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static _Atomic long long shift;

static void read_shift(void)
{
	const char *path = getenv("WARDPOST_CLOCK");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	char text[32];
	ssize_t got;

	if (file < 0)
		return;
	got = pread(file, text, sizeof text - 1, 0);
	close(file);
	if (got <= 0)
		return; /* It is being written; the old shift holds. */
	text[got] = 0;
	shift = strtoll(text, NULL, 10);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	static int (*real)(clockid_t, struct timespec *);
	int done;

	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	done = real(clock, time);
	if (done == 0 && clock == CLOCK_REALTIME) {
		read_shift();
		time->tv_sec += shift;
	}
	return done;
}

int open64(const char *path, int flags, ...)
{
	static int (*real)(const char *, int, ...);
	const char *boot = getenv("WARDPOST_BOOT");
	va_list more;
	mode_t mode;

	if (!real)
		real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
	va_start(more, flags);
	mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(more, mode_t) : 0;
	va_end(more);
	if (boot && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
		path = boot;
	return real(path, flags, mode);
}
