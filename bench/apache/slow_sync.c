/*
 * Makes every sync of a file take longer, so that Apache RocketMQ can be measured as on a slower disk.
 * Loaded into its JVM by LD_PRELOAD; ADDED_SYNC_MS says how much longer, in milliseconds. Kerolox
 * does the same in its own seam to the disk (kerolox.disk.addedSyncMillis).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>

/* A sync that has failed is not made to last. */
static int later(int result)
{
	const char *added = getenv("ADDED_SYNC_MS");
	long ms = added == NULL ? 0 : atol(added);
	struct timespec left = { ms / 1000, ms % 1000 * 1000000 };

	if (result == 0 && ms > 0) {
		while (nanosleep(&left, &left) != 0 && errno == EINTR)
			;
	}
	return result;
}

int fdatasync(int fd)
{
	int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

	return later(next(fd));
}

int fsync(int fd)
{
	int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");

	return later(next(fd));
}

int msync(void *start, size_t length, int flags)
{
	int (*next)(void *, size_t, int) = (int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "msync");

	return later(next(start, length, flags));
}
