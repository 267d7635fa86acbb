/*
 * Nobody reads through the cache what the origin would not let them read, also
 * when it is cached already.
 */
#include "t.h"

#include <sys/wait.h>

enum { NOBODY = 65534 };

/* Opens the private file as a user who must not; the cache has all of it. */
static void check_refused_to_nobody(void) {
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = NULL;

    if (geteuid() == 0 && seteuid(NOBODY) != 0)
        t_skip("no other user can be had: %s", strerror(errno));
    CHECK_ERROR(cachefs_file_open(origin, "private", 0, &file), -EACCES);
    CHECK_ERROR(cachefs_file_open(origin, "closed/file", 0, &file), -EACCES);
    CHECK(file == NULL);
    file = t_file_open(origin, "public");
    CHECK_READ(file, 1000, 2, 1000, 0);
    cachefs_file_close(file);
    if (getuid() == 0)
        CHECK_EQ(seteuid(0), 0);

    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
}

int main(void) {
    t_require_directory_origin();
    t_make_origin_file("private", 1000, 1);
    t_make_origin_file("public", 1000, 2);
    CHECK_EQ(mkdir(t_path("origin/closed"), 0755), 0);
    t_make_origin_file("closed/file", 1000, 3);
    /* Searchable for all, so that only the files' own modes decide. */
    CHECK_EQ(chmod(getenv("T_DIR"), 0755), 0);

    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "private");
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), 1000);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);

    CHECK_EQ(chmod(t_path("origin/private"), geteuid() == 0 ? 0600 : 0), 0);
    CHECK_EQ(chmod(t_path("origin/closed"), geteuid() == 0 ? 0700 : 0), 0);
    t_settle();
    check_refused_to_nobody();
    return 0;
}
