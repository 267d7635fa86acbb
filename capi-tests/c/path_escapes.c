/* No path leads out of an origin's root. */
#include "t.h"

static void check_refused(cachefs_origin *origin, const char *path, int expected) {
    cachefs_file *file = NULL;
    int result = cachefs_file_open(origin, path, 0, &file);
    if (result != expected)
        t_fail(__FILE__, __LINE__, "%s: got %d %s, expected %s", path, result,
               t_errno_name(result), t_errno_name(expected));
    CHECK(file == NULL);
}

static void check_opens(cachefs_origin *origin, const char *path) {
    cachefs_file *file = t_file_open(origin, path);
    CHECK_READ(file, 100, 1, 100, 0);
    cachefs_file_close(file);
}

int main(void) {
    char absolute[4096];
    t_require_directory_origin();
    CHECK_EQ(mkdir(t_path("origin"), 0755), 0);
    CHECK_EQ(mkdir(t_path("origin/dir"), 0755), 0);
    t_write_file(t_path("secret"), 100, 2);
    snprintf(absolute, sizeof absolute, "%s", t_path("secret"));
    t_make_origin_file("file", 100, 1);
    t_make_origin_file("dir/file", 100, 1);
    CHECK_EQ(symlink(absolute, t_path("origin/absolute")), 0);
    CHECK_EQ(symlink("../secret", t_path("origin/relative")), 0);
    CHECK_EQ(symlink("../../secret", t_path("origin/dir/relative")), 0);
    CHECK_EQ(symlink("..", t_path("origin/parent")), 0);
    CHECK_EQ(symlink("dir/file", t_path("origin/inside")), 0);
    CHECK_EQ(symlink("../file", t_path("origin/dir/up")), 0);
    CHECK_EQ(symlink("loop", t_path("origin/loop")), 0);

    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);

    check_refused(origin, "../secret", -EXDEV);
    check_refused(origin, "dir/../../secret", -EXDEV);
    check_refused(origin, "absolute", -EXDEV);
    check_refused(origin, "relative", -EXDEV);
    check_refused(origin, "dir/relative", -EXDEV);
    check_refused(origin, "parent/secret", -EXDEV);
    check_refused(origin, "..", -EXDEV);
    check_refused(origin, "loop", -ELOOP);

    /* What stays inside is fine, and the root is the root. */
    check_opens(origin, "file");
    check_opens(origin, "/file");
    check_opens(origin, "//dir/./file");
    check_opens(origin, "dir/../file");
    check_opens(origin, "inside");
    check_opens(origin, "dir/up");

    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
