/* hello CACHE_DIR ORIGIN_DIR FILE: prints a file of ORIGIN_DIR, read through a cache. */
#include <cachefs.h>
#include <stdio.h>

int main(int argc, char **argv) {
    cachefs_cache *cache = NULL;
    cachefs_origin *origin = NULL;
    cachefs_file *file = NULL;
    static char buffer[65536];
    int64_t got = -1;

    if (argc == 4 && cachefs_cache_open(argv[1], NULL, &cache) == 0 &&
        cachefs_origin_open_dir(cache, argv[2], NULL, &origin) == 0 &&
        cachefs_file_open(origin, argv[3], 0, &file) == 0) {
        uint64_t offset = 0;
        while ((got = cachefs_read(file, buffer, sizeof buffer, offset)) > 0)
            offset += fwrite(buffer, 1, (size_t)got, stdout);
    }
    if (got < 0)
        fprintf(stderr, "hello: %s\n", argc == 4 ? cachefs_last_error() : "three arguments");
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return got < 0;
}
