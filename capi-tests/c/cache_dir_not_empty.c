/* A directory with something else in it is not taken for a cache, nor touched. */
#include "t.h"

#include <dirent.h>

static unsigned count_entries(const char *path) {
    unsigned count = 0;
    DIR *directory = opendir(path);
    CHECK(directory != NULL);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count - 2;
}

int main(void) {
    cachefs_cache *cache = NULL;
    cachefs_cache_options options = t_options();
    struct stat before, after;

    CHECK_EQ(mkdir(t_path("home"), 0755), 0);
    t_write_file(t_path("home/letter"), 1000, 1);
    CHECK_EQ(stat(t_path("home/letter"), &before), 0);
    CHECK_ERROR(cachefs_cache_open(t_path("home"), &options, &cache), -ENOTEMPTY);
    CHECK(cache == NULL);
    CHECK_EQ(count_entries(t_path("home")), 1);
    CHECK_EQ(stat(t_path("home/letter"), &after), 0);
    CHECK_EQ(after.st_size, before.st_size);
    CHECK_EQ(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);

    /* Hidden files are files. */
    CHECK_EQ(mkdir(t_path("hidden"), 0755), 0);
    t_write_file(t_path("hidden/.letter"), 10, 1);
    CHECK_ERROR(cachefs_cache_open(t_path("hidden"), &options, &cache), -ENOTEMPTY);

    CHECK_ERROR(cachefs_cache_open(t_path("home/letter"), &options, &cache), -ENOTDIR);
    CHECK_ERROR(cachefs_cache_open(t_path("home/letter/cache"), &options, &cache), -ENOTDIR);
    CHECK_ERROR(cachefs_cache_open(t_path("no/parent"), &options, &cache), -ENOENT);
    CHECK_ERROR(cachefs_cache_open("", &options, &cache), -ENOENT);
    CHECK(cache == NULL);

    /* An empty one is as good as none; what is made is its owner's alone. */
    CHECK_EQ(mkdir(t_path("empty"), 0755), 0);
    CHECK_OK(cachefs_cache_open(t_path("empty"), &options, &cache));
    cachefs_cache_close(cache);
    CHECK_OK(cachefs_cache_open(t_path("new"), &options, &cache));
    cachefs_cache_close(cache);
    CHECK_EQ(stat(t_path("new"), &after), 0);
    CHECK_EQ(after.st_mode & 07777, 0700);
    return 0;
}
