// Loads a library in the given way.
// usage: loader now|deepbind|apart LIBRARY
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int main(int count, char **words) {
    if (count != 3)
        return 2;
    void *library;
    if (strcmp(words[1], "now") == 0)
        library = dlopen(words[2], RTLD_NOW);
    else if (strcmp(words[1], "deepbind") == 0)
        library = dlopen(words[2], RTLD_NOW | RTLD_DEEPBIND);
    else
        library = dlmopen(LM_ID_NEWLM, words[2], RTLD_NOW);
    if (library == NULL)
        fputs(dlerror(), stderr);
    return library == NULL;
}
