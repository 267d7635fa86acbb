/* cachefs_file_fd() gives the complete object as an ordinary, read-only file. */
#include "t.h"

#include <sys/mman.h>

enum { SIZE = 3 * T_CHUNK + 100, SEED = 19 };

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");

    CHECK_ERROR(cachefs_file_fd(file), -ENODATA);
    CHECK_READ(file, SIZE, SEED, 10, 0);
    CHECK_ERROR(cachefs_file_fd(file), -ENODATA);
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);

    int fd = cachefs_file_fd(file);
    CHECK(fd >= 0);
    CHECK_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    int other = cachefs_file_fd(file);
    CHECK(other >= 0 && other != fd);
    CHECK_EQ(close(other), 0);

    /* It is the caller's: nothing that is closed takes it away. */
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);

    struct stat status;
    CHECK_EQ(fstat(fd, &status), 0);
    CHECK_EQ(status.st_size, SIZE);
    static unsigned char buffer[SIZE + 1];
    CHECK_EQ(pread(fd, buffer, sizeof buffer, 0), SIZE);
    CHECK_CONTENT(buffer, SIZE, SEED, 0);
    void *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    CHECK_CONTENT(map, SIZE, SEED, 0);
    CHECK_EQ(munmap(map, SIZE), 0);
    CHECK(write(fd, buffer, 1) == -1);
    CHECK_EQ(close(fd), 0);
    return 0;
}
