/*
 * With huge_pages the library's buffers are made of the reserve of huge pages, if
 * there is one, and the report says which pages they are made of.
 */
#include "t_mount.h"

#include <sys/file.h>
#include <sys/wait.h>

enum { SIZE = 40 * T_CHUNK + 11, SEED = 55, POOL_BYTES = 4 << 20, RESERVE = 16, HUGE = 2 << 20 };

static const char RESERVE_PATH[] = "/proc/sys/vm/nr_hugepages";

/* A number of /proc/meminfo, or of the reserve. */
static long number(const char *path, const char *name) {
    char line[256];
    long value = -1;
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    while (value < 0 && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtol(line + strlen(name), NULL, 10);
    }
    CHECK_EQ(fclose(file), 0);
    CHECK(value >= 0);
    return value;
}

static long free_pages(void) {
    return number("/proc/meminfo", "HugePages_Free:");
}

static void set_reserve(long pages) {
    char text[32];
    snprintf(text, sizeof text, "%ld", pages);
    t_write_line(RESERVE_PATH, text);
}

/* Bytes of the pages that memory of this process is made of (proc(5), smaps). */
static long page_bytes(const void *memory) {
    char line[512];
    unsigned long begin, end, kilobytes;
    bool here = false;
    FILE *file = fopen("/proc/self/smaps", "re");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            here = begin <= (uintptr_t)memory && (uintptr_t)memory < end;
        if (here && sscanf(line, "KernelPageSize: %lu kB", &kilobytes) == 1)
            break;
    }
    CHECK(here);
    CHECK_EQ(fclose(file), 0);
    return (long)kilobytes * 1024;
}

/* Opens a cache and uses it; its pages are to be as said. */
static void check(const char *name, bool reserved) {
    long before = free_pages();
    cachefs_cache_options options = t_options();
    options.huge_pages = 2;
    options.pool_bytes = POOL_BYTES;
    options.threads = 1;
    /* Other ways to copy need no buffers. */
    options.copy_method = CACHEFS_COPY_RING;
    cachefs_cache *cache = t_cache_open_with(t_path("%s", name), &options);
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_READ(file, SIZE, SEED, SIZE + 1, 0);
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    CHECK_READ(file, SIZE, SEED, SIZE + 1, 0);

    cachefs_report report = {.struct_size = sizeof report};
    CHECK_OK(cachefs_cache_report(cache, &report));
    CHECK_EQ(report.pages == CACHEFS_PAGES_RESERVED, reserved);
    CHECK_EQ(free_pages() < before, reserved);

    void *memory = NULL;
    CHECK_OK(cachefs_buffer_alloc(cache, HUGE, &memory));
    memset(memory, 1, HUGE);
    CHECK_EQ(page_bytes(memory) == HUGE, reserved);
    CHECK_EQ(cachefs_read(file, memory, HUGE, 5), HUGE);
    CHECK_CONTENT(memory, HUGE, SEED, 5);
    CHECK_OK(cachefs_buffer_free(cache, memory));

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    /* The kernel lets go of what a ring had pinned some time after its end. */
    CHECK_SOON(free_pages() == before);
}

/* In a process of its own, so that the reserve is given back however it ends. */
static int run(const char *name, bool reserved) {
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        check(name, reserved);
        exit(0);
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    return status;
}

int main(void) {
    if (t_under_valgrind())
        t_skip("valgrind maps its own pages");
    t_engine();
    t_make_origin_file("file", SIZE, SEED);
    /* The reserve is the system's: one test at a time. */
    int lock = open(t_path(".."), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(lock >= 0);
    CHECK_EQ(flock(lock, LOCK_EX), 0);
    long had = number(RESERVE_PATH, "");
    if (had != 0)
        t_skip("this system has a reserve of huge pages that others may use");
    CHECK_EQ(run("without", false), 0);

    set_reserve(RESERVE);
    long got = number(RESERVE_PATH, "");
    int status = got == RESERVE ? run("with", true) : 0;
    set_reserve(had);
    if (got != RESERVE)
        t_skip("memory for %d huge pages is not to be had", RESERVE);
    CHECK_EQ(status, 0);
    CHECK_EQ(close(lock), 0);
    return 0;
}
