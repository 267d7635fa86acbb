/* A cache of a later release is left alone. */
#include "t.h"

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "we");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0);
    CHECK_EQ(fclose(file), 0);
}

static void check_refused(const char *marker, int expected) {
    char text[64] = "";
    cachefs_cache *cache = NULL;
    write_text(t_path("cache/cachefs.format"), marker);
    CHECK_ERROR(cachefs_cache_open(t_path("cache"), NULL, &cache), expected);
    CHECK(cache == NULL);
    FILE *file = fopen(t_path("cache/cachefs.format"), "re");
    CHECK(file != NULL);
    CHECK(fgets(text, sizeof text, file) != NULL || marker[0] == '\0');
    CHECK_EQ(fclose(file), 0);
    CHECK(strcmp(text, marker) == 0);
}

int main(void) {
    cachefs_cache *cache = NULL;
    CHECK_OK(cachefs_cache_open(t_path("cache"), NULL, &cache));
    cachefs_cache_close(cache);

    unsigned format = 0;
    FILE *file = fopen(t_path("cache/cachefs.format"), "re");
    CHECK(file != NULL);
    CHECK_EQ(fscanf(file, "cachefs cache format %u\n", &format), 1);
    CHECK_EQ(fclose(file), 0);

    char newer[64];
    snprintf(newer, sizeof newer, "cachefs cache format %u\n", format + 1);
    check_refused(newer, -EPROTONOSUPPORT);
    check_refused("cachefs cache format 4000000000\n", -EPROTONOSUPPORT);

    char same[64];
    snprintf(same, sizeof same, "cachefs cache format %u\n", format);
    write_text(t_path("cache/cachefs.format"), same);
    CHECK_OK(cachefs_cache_open(t_path("cache"), NULL, &cache));
    cachefs_cache_close(cache);
    return 0;
}
