/* sync_shim.c: fsync and fdatasync of one process fail or take long, as a control file says. For LD_PRELOAD.
 *
 * The file named by SYNC_FAULT holds one line:
 *   fail SUBSTRING      the next sync of a path with SUBSTRING fails with EIO, once; the file is then renamed to *.fired
 *   slow MS SUBSTRING   every sync of such a path takes MS milliseconds longer
 *   hang SUBSTRING      no sync of such a path comes back; a file *.hung appears before the first hangs
 * As on Linux a second sync after a failed one succeeds and proves nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int fault(int fd) {
    const char *control = getenv("SYNC_FAULT");
    FILE *file = control ? fopen(control, "re") : NULL;
    if (!file) return 0;
    char line[512] = "", link[64], path[4096], fired[4096];
    char *got = fgets(line, sizeof line, file);
    fclose(file);
    if (!got) return 0;
    line[strcspn(line, "\n")] = 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    if (strncmp(line, "fail ", 5) == 0 && strstr(path, line + 5)) {
        snprintf(fired, sizeof fired, "%s.fired", control);
        return rename(control, fired) == 0; /* whoever renames it is the one that fails */
    }
    if (strncmp(line, "hang ", 5) == 0 && strstr(path, line + 5)) {
        snprintf(fired, sizeof fired, "%s.hung", control);
        FILE *hung = fopen(fired, "we");
        if (hung) fclose(hung);
        for (;;) pause();
    }
    long ms;
    int at = 0;
    if (sscanf(line, "slow %ld %n", &ms, &at) == 1 && at && strstr(path, line + at)) {
        struct timespec wait = {ms / 1000, ms % 1000 * 1000000};
        nanosleep(&wait, NULL);
    }
    return 0;
}

#define SYNC(name)                                                    \
    int name(int fd) {                                                \
        static int (*real)(int);                                      \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name);      \
        if (fault(fd)) {                                              \
            real(fd);                                                 \
            errno = EIO;                                              \
            return -1;                                                \
        }                                                             \
        return real(fd);                                              \
    }
SYNC(fsync)
SYNC(fdatasync)
