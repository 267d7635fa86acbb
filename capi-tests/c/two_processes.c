/* Two processes use one cache directory at once; what one fetched the other has. */
#include "t.h"

#include <sys/wait.h>

enum { FILES = 8, SIZE = 3 * T_CHUNK + 1 };

/* Reads every file; the two begin at opposite ends and meet. */
static void read_all(bool backwards) {
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    for (unsigned i = 0; i < FILES; i++) {
        unsigned number = backwards ? FILES - 1 - i : i;
        char name[32];
        snprintf(name, sizeof name, "file-%u", number);
        cachefs_file *file = t_file_open(origin, name);
        CHECK_READ(file, SIZE, number, SIZE, 0);
        cachefs_file_close(file);
    }
    CHECK_EQ(t_statistics(cache).errors, 0);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        read_all(true);
        return 0;
    }
    for (unsigned i = 0; i < FILES; i++) {
        char name[32];
        snprintf(name, sizeof name, "file-%u", i);
        t_make_origin_file(name, SIZE, i);
    }
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        execl(argv[0], argv[0], "backwards", (char *)NULL);
        _exit(127);
    }
    read_all(false);
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);

    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    for (unsigned i = 0; i < FILES; i++) {
        char name[32];
        snprintf(name, sizeof name, "file-%u", i);
        cachefs_file *file = t_file_open(origin, name);
        CHECK_READ(file, SIZE, i, SIZE, 0);
        cachefs_file_close(file);
    }
    CHECK_EQ(t_statistics(cache).hits, FILES);
    CHECK_EQ(t_statistics(cache).cached_objects, FILES);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
