// The header from C++: it compiles, links, and the structures are usable with
// the language's own initialisers. One argument: a directory to work in.
#include <cachefs.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include <sys/stat.h>

namespace {

void check(bool good, const char *what) {
    if (!good) {
        std::fprintf(stderr, "%s: %s\n", what, cachefs_last_error());
        std::exit(1);
    }
}

}  // namespace

int main(int argc, char **argv) {
    check(argc == 2, "one argument");
    const std::string directory = argv[1];
    const std::string root = directory + "/origin";
    const std::string cache_dir = directory + "/cache";
    const std::string text = "from C++";
    check(mkdir(root.c_str(), 0755) == 0, "mkdir");
    std::ofstream(root + "/file") << text;

    check(cachefs_version() == CACHEFS_VERSION, "cachefs_version");

    cachefs_cache_options options{};
    check(cachefs_cache_options_init(&options, sizeof options) == 0, "cachefs_cache_options_init");
    options.log = [](void *, uint32_t, const char *) {};

    cachefs_cache *cache = nullptr;
    check(cachefs_cache_open(cache_dir.c_str(), &options, &cache) == 0, "cachefs_cache_open");
    cachefs_origin *origin = nullptr;
    check(cachefs_origin_open_dir(cache, root.c_str(), nullptr, &origin) == 0,
          "cachefs_origin_open_dir");
    cachefs_file *file = nullptr;
    check(cachefs_file_open(origin, "file", 0, &file) == 0, "cachefs_file_open");

    char buffer[64];
    const int64_t got = cachefs_read(file, buffer, sizeof buffer, 0);
    check(got == static_cast<int64_t>(text.size()), "cachefs_read");
    check(std::string(buffer, text.size()) == text, "the bytes");

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
