/*
 * Where RLIMIT_MEMLOCK allows only some of the library's buffers to be pinned, the
 * others are used as ordinary memory: reads are right, the limit is kept, and the
 * log says what was refused.
 */
#include "t.h"

#include <linux/capability.h>
#include <sys/resource.h>

enum { SIZE = 64 * T_CHUNK + 9, SEED = 56, LIMIT = 3 * T_CHUNK };

static void count(void *user, uint32_t level, const char *message) {
    if (strstr(message, "RLIMIT_MEMLOCK") != NULL) {
        CHECK(level >= CACHEFS_LOG_INFO);
        atomic_fetch_add((atomic_uint *)user, 1);
    }
}

/* The limit does not hold for who may lock memory. */
static void give_up_locking(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2];
    CHECK_EQ(syscall(SYS_capget, &header, sets), 0);
    sets[0].effective &= ~(1u << CAP_IPC_LOCK);
    sets[0].permitted &= ~(1u << CAP_IPC_LOCK);
    sets[0].inheritable &= ~(1u << CAP_IPC_LOCK);
    CHECK_EQ(syscall(SYS_capset, &header, sets), 0);
    struct rlimit limit = {LIMIT, LIMIT};
    CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
}

/* Bytes of this process that the kernel has pinned. */
static long pinned(void) {
    char line[256];
    long kilobytes = -1;
    FILE *file = fopen("/proc/self/status", "re");
    CHECK(file != NULL);
    while (kilobytes < 0 && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmPin: %ld kB", &kilobytes) != 1)
            kilobytes = -1;
    }
    CHECK_EQ(fclose(file), 0);
    return kilobytes * 1024;
}

int main(void) {
    if (t_engine() != CACHEFS_ENGINE_URING)
        t_skip("psync pins nothing");
    if (t_under_valgrind())
        t_skip("valgrind pins memory of its own");
    t_make_origin_file("file", SIZE, SEED);
    give_up_locking();

    atomic_uint said = 0;
    cachefs_cache_options options = t_options();
    options.threads = 1;
    /* Other ways to copy need no buffers. */
    options.copy_method = CACHEFS_COPY_RING;
    options.log = count;
    options.log_user = &said;
    options.log_level = CACHEFS_LOG_INFO;
    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    cachefs_report report = {.struct_size = sizeof report};
    CHECK_OK(cachefs_cache_report(cache, &report));
    if ((report.features & CACHEFS_FEATURE_REGISTER_BUFFERS2) == 0)
        t_skip("this kernel registers no buffers one by one");
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    CHECK(pinned() > 0 && pinned() <= LIMIT);
    CHECK_EQ(atomic_load(&said), 1);
    CHECK_READ(file, SIZE, SEED, SIZE + 1, 0);
    CHECK_EQ(t_statistics(cache).errors, 0);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
