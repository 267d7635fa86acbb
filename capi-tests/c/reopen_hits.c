/* The cache outlives the handle and the process that filled it. */
#include "t.h"

#include <sys/wait.h>

enum { SIZE = 3 * T_CHUNK + 5, SEED = 11 };

/* Opens everything anew and reads the whole file, without the origin's help. */
static void check_hits(void) {
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_EQ(t_residency(file).complete, 1);
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    cachefs_statistics statistics = t_statistics(cache);
    CHECK_EQ(statistics.hits, 1);
    CHECK_EQ(statistics.misses, 0);
    CHECK_EQ(statistics.origin_reads, 0);
    CHECK_EQ(statistics.cached_objects, 1);
    CHECK(statistics.cached_bytes >= SIZE);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
}

/* Runs this program again, as a process that knows nothing of this one. */
static void check_hits_in_new_process(const char *self) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        execl(self, self, "again", (char *)NULL);
        _exit(127);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        check_hits();
        return 0;
    }
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    CHECK_SOON(t_residency(file).complete == 1);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);

    check_hits();
    check_hits_in_new_process(argv[0]);

    /* Also while this process has it open. */
    cache = t_cache_open();
    check_hits_in_new_process(argv[0]);
    cachefs_cache_close(cache);
    return 0;
}
