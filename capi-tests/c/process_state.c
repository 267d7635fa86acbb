/*
 * The library leaves the process as it is: signals, umask, locale, limits,
 * directory, environment; and its threads block all signals. Without a cache it
 * has no threads and no descriptors.
 */
#include "t.h"

#include <dirent.h>
#include <locale.h>
#include <signal.h>
#include <sys/resource.h>

enum { SIGNALS = 65 };

/* What sigaction() tells of one signal, without the parts that it leaves undefined. */
struct disposition {
    void (*handler)(int);
    int flags;
    uint64_t mask;
};

struct state {
    struct disposition dispositions[SIGNALS];
    sigset_t mask;
    mode_t umask;
    struct rlimit limits[RLIM_NLIMITS];
    char locale[256];
    char directory[4096];
};

static struct disposition disposition_of(int signal) {
    struct disposition disposition = {0};
    struct sigaction action;
    if (sigaction(signal, NULL, &action) != 0)
        return disposition; /* one of those that the C library keeps */
    disposition.handler = action.sa_handler;
    disposition.flags = action.sa_flags;
    for (int other = 1; other < SIGNALS; other++)
        disposition.mask |= (uint64_t)(sigismember(&action.sa_mask, other) == 1) << (other - 1);
    return disposition;
}

/* Zeroed first, so that padding compares equal. */
static void take(struct state *state) {
    memset(state, 0, sizeof *state);
    for (int signal = 1; signal < SIGNALS; signal++)
        state->dispositions[signal] = disposition_of(signal);
    sigprocmask(SIG_SETMASK, NULL, &state->mask);
    state->umask = umask(0);
    umask(state->umask);
    for (int limit = 0; limit < RLIM_NLIMITS; limit++)
        CHECK_EQ(getrlimit(limit, &state->limits[limit]), 0);
    snprintf(state->locale, sizeof state->locale, "%s", setlocale(LC_ALL, NULL));
    CHECK(getcwd(state->directory, sizeof state->directory) != NULL);
}

static void check_unchanged(const struct state *before) {
    static struct state after;
    take(&after);
    for (int signal = 1; signal < SIGNALS; signal++) {
        CHECK(after.dispositions[signal].handler == before->dispositions[signal].handler);
        CHECK_EQ(after.dispositions[signal].flags, before->dispositions[signal].flags);
        CHECK_EQ(after.dispositions[signal].mask, before->dispositions[signal].mask);
    }
    CHECK_EQ(memcmp(&after.mask, &before->mask, sizeof after.mask), 0);
    CHECK_EQ(after.umask, before->umask);
    CHECK_EQ(memcmp(after.limits, before->limits, sizeof after.limits), 0);
    CHECK(strcmp(after.locale, before->locale) == 0);
    CHECK(strcmp(after.directory, before->directory) == 0);
}

/* The value of a line of /proc/self/task/TID/status. */
static void read_status(const char *task, const char *key, char *value, size_t size) {
    char path[300], line[256];
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    value[0] = '\0';
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0)
            snprintf(value, size, "%s", line + strlen(key) + 1);
    }
    CHECK_EQ(fclose(file), 0);
}

/* Counts the threads of the library and checks each; the kernel's own for
   io_uring are not ours to name. */
static unsigned check_threads(void) {
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/task");
    CHECK(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char name[64], blocked[64];
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid())
            continue;
        read_status(entry->d_name, "Name:", name, sizeof name);
        if (strncmp(name, "iou-", 4) == 0)
            continue;
        count++;
        CHECK(strncmp(name, "cachefs-", 8) == 0);
        /* All but SIGKILL and SIGSTOP, which nobody blocks, and the two that the
           C library keeps for itself. */
        read_status(entry->d_name, "SigBlk:", blocked, sizeof blocked);
        uint64_t exempt = UINT64_C(0x180040100);
        /* valgrind needs one for itself. */
        if (t_under_valgrind())
            exempt |= UINT64_C(1) << 63;
        CHECK_EQ(strtoull(blocked, NULL, 16) | exempt, UINT64_MAX);
    }
    closedir(directory);
    return count;
}

int main(void) {
    static struct state before;
    umask(027);
    t_make_origin_file("file", 1000, 1);
    /* Already at load. */
    CHECK_EQ(check_threads(), 0);
    unsigned descriptors = t_count_descriptors();
    for (int signal = 1; signal < SIGNALS; signal++) {
        void (*handler)(int) = disposition_of(signal).handler;
        CHECK(handler == SIG_DFL || handler == SIG_IGN);
    }
    take(&before);

    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, 4, 0);
    CHECK_READ(file, 1000, 1, 1000, 0);
    check_unchanged(&before);
    CHECK(check_threads() > 0);

    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    check_unchanged(&before);
    CHECK_EQ(check_threads(), 0);
    CHECK_EQ(t_count_descriptors(), descriptors);
    return 0;
}
