/* The library tells the release that its header belongs to. */
#include "t.h"

int main(void) {
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", CACHEFS_VERSION_MAJOR, CACHEFS_VERSION_MINOR,
             CACHEFS_VERSION_PATCH);
    CHECK(strcmp(cachefs_version_string(), text) == 0);
    CHECK_EQ(cachefs_version(), CACHEFS_VERSION);
    CHECK_EQ(cachefs_version() >> 16, CACHEFS_VERSION_MAJOR);
    CHECK_EQ(cachefs_version() >> 8 & 0xff, CACHEFS_VERSION_MINOR);
    CHECK_EQ(cachefs_version() & 0xff, CACHEFS_VERSION_PATCH);
    return 0;
}
