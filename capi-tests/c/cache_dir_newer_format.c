/* A cache of a later release is left alone. */
#include "t.h"

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "we");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0);
    CHECK_EQ(fclose(file), 0);
}

static void read_text(const char *path, char *text, size_t size) {
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    size_t length = fread(text, 1, size - 1, file);
    text[length] = '\0';
    CHECK_EQ(fclose(file), 0);
}

static void check_refused(const char *marker, int expected) {
    char text[256];
    cachefs_cache *cache = NULL;
    cachefs_cache_options options = t_options();
    write_text(t_path("cache/cachefs.format"), marker);
    CHECK_ERROR(cachefs_cache_open(t_path("cache"), &options, &cache), expected);
    CHECK(cache == NULL);
    read_text(t_path("cache/cachefs.format"), text, sizeof text);
    CHECK(strcmp(text, marker) == 0);
}

int main(void) {
    cachefs_cache *cache = NULL;
    cachefs_cache_options options = t_options();
    CHECK_OK(cachefs_cache_open(t_path("cache"), &options, &cache));
    cachefs_cache_close(cache);

    char marker[256];
    unsigned format = 0;
    read_text(t_path("cache/cachefs.format"), marker, sizeof marker);
    CHECK_EQ(sscanf(marker, "cachefs cache format %u\n", &format), 1);

    char newer[64];
    snprintf(newer, sizeof newer, "cachefs cache format %u\n", format + 1);
    check_refused(newer, -EPROTONOSUPPORT);
    check_refused("cachefs cache format 4000000000\n", -EPROTONOSUPPORT);
    check_refused("cachefs cache format\n", -EPROTONOSUPPORT);
    check_refused("something else\n", -EPROTONOSUPPORT);

    /* Nothing happened to it: with its own marker it is as it was. */
    write_text(t_path("cache/cachefs.format"), marker);
    CHECK_OK(cachefs_cache_open(t_path("cache"), &options, &cache));
    cachefs_cache_close(cache);
    return 0;
}
