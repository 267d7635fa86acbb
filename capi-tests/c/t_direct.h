/* Helpers for tests of objects that are kept out of the page cache. */
#ifndef T_DIRECT_H
#define T_DIRECT_H

#include "t.h"

#include <glob.h>
#include <sys/mman.h>

enum { T_PAGE = 4096 };

/* Options for the engine under test, with direct_io. */
T_HELPER cachefs_cache_options t_direct_options(void) {
    cachefs_cache_options options = t_options();
    options.direct_io = 1;
    return options;
}

/* Opens the only data file of the cache in `directory` of the test. */
T_HELPER int t_open_data(const char *directory) {
    glob_t found;
    CHECK_EQ(glob(t_path("%s/objects/*/*.data", directory), 0, NULL, &found), 0);
    CHECK_EQ(found.gl_pathc, 1);
    int fd = open(found.gl_pathv[0], O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    globfree(&found);
    return fd;
}

/* Pages of a file that are in the page cache. */
T_HELPER unsigned t_pages_cached(int fd) {
    struct stat status;
    CHECK_EQ(fstat(fd, &status), 0);
    size_t pages = ((size_t)status.st_size + T_PAGE - 1) / T_PAGE;
    unsigned char *resident = malloc(pages);
    /* Without access, since valgrind reads what is mapped for reading. */
    void *map = mmap(NULL, (size_t)status.st_size, PROT_NONE, MAP_SHARED, fd, 0);
    CHECK(resident != NULL && map != MAP_FAILED);
    CHECK_EQ(mincore(map, (size_t)status.st_size, resident), 0);
    unsigned count = 0;
    for (size_t i = 0; i < pages; i++)
        count += resident[i] & 1;
    CHECK_EQ(munmap(map, (size_t)status.st_size), 0);
    free(resident);
    return count;
}

/* Skips where the test's directory is on a file system without O_DIRECT. */
T_HELPER void t_require_direct(void) {
    const char *path = t_path("probe");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_DIRECT, 0600);
    if (fd < 0)
        t_skip("no O_DIRECT on the file system of the tests: %s", strerror(errno));
    CHECK_EQ(close(fd), 0);
    t_write_file(path, T_CHUNK, 1);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    CHECK(fd >= 0);
    void *page = aligned_alloc(T_PAGE, T_PAGE);
    CHECK_EQ(fsync(fd), 0);
    CHECK_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    bool reads = pread(fd, page, T_PAGE, 0) == T_PAGE;
    bool past = reads && t_pages_cached(fd) == 0;
    free(page);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(unlink(path), 0);
    if (!past)
        t_skip("O_DIRECT goes through the page cache on the file system of the tests");
}

#endif /* T_DIRECT_H */
