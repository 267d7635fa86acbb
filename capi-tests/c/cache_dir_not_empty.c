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
    struct stat before, after;

    CHECK_EQ(mkdir(t_path("home"), 0755), 0);
    t_write_file(t_path("home/letter"), 1000, 1);
    CHECK_EQ(stat(t_path("home/letter"), &before), 0);
    CHECK_ERROR(cachefs_cache_open(t_path("home"), NULL, &cache), -ENOTEMPTY);
    CHECK(cache == NULL);
    CHECK_EQ(count_entries(t_path("home")), 1);
    CHECK_EQ(stat(t_path("home/letter"), &after), 0);
    CHECK_EQ(after.st_size, before.st_size);
    CHECK_EQ(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);

    /* Hidden files are files. */
    CHECK_EQ(mkdir(t_path("hidden"), 0755), 0);
    t_write_file(t_path("hidden/.letter"), 10, 1);
    CHECK_ERROR(cachefs_cache_open(t_path("hidden"), NULL, &cache), -ENOTEMPTY);

    CHECK_ERROR(cachefs_cache_open(t_path("home/letter"), NULL, &cache), -ENOTDIR);
    CHECK_ERROR(cachefs_cache_open(t_path("home/letter/cache"), NULL, &cache), -ENOTDIR);
    CHECK_ERROR(cachefs_cache_open(t_path("no/parent"), NULL, &cache), -ENOENT);
    CHECK_ERROR(cachefs_cache_open("", NULL, &cache), -ENOENT);
    CHECK(cache == NULL);

    /* An empty one is as good as none; what is made is its owner's alone. */
    CHECK_EQ(mkdir(t_path("empty"), 0755), 0);
    CHECK_OK(cachefs_cache_open(t_path("empty"), NULL, &cache));
    cachefs_cache_close(cache);
    CHECK_OK(cachefs_cache_open(t_path("new"), NULL, &cache));
    cachefs_cache_close(cache);
    CHECK_EQ(stat(t_path("new"), &after), 0);
    CHECK_EQ(after.st_mode & 07777, 0700);
    return 0;
}
