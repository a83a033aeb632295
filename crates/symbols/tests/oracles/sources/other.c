#include "chain.h"

int other(int x) {
    static volatile int counter;
    counter += x;
    if (x > 3)
        return from_header(x - 2) + counter;
    return counter;
}
