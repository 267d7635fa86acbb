/* Another file under the same name is another file, whatever its size and mtime. */
#include "t.h"

enum { SIZE = T_CHUNK };

int main(void) {
    t_make_origin_file("file", SIZE, 1);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_READ(file, SIZE, 1, SIZE, 0);
    cachefs_file_close(file);

    struct stat status;
    CHECK_EQ(stat(t_path("origin/file"), &status), 0);
    t_make_origin_file("other", SIZE, 2);
    struct timespec times[2] = {status.st_atim, status.st_mtim};
    CHECK_EQ(utimensat(AT_FDCWD, t_path("origin/other"), times, 0), 0);
    CHECK_EQ(rename(t_path("origin/other"), t_path("origin/file")), 0);
    t_settle();

    file = t_file_open(origin, "file");
    CHECK_READ(file, SIZE, 2, SIZE, 0);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
