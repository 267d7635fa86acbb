/* Objects on a device whose sectors have 4096 bytes: reads of every alignment. */
#include "t_sectors.h"

int main(void) {
    return t_check_sectors(4096);
}
