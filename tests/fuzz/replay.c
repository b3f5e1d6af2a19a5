/*
 * Runs a fuzz target over files, without a fuzzer.
 *
 *	replay FILE-OR-DIRECTORY...
 *
 * Fails when there is no file to run.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t replay_file(const char *path, size_t size)
{
	uint8_t *data = malloc(size ? size : 1);
	FILE *f = fopen(path, "rb");

	if (!data || !f || fread(data, 1, size, f) != size) {
		perror(path);
		exit(1);
	}
	fclose(f);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 1;
}

static size_t replay(const char *path)
{
	size_t count = 0;
	struct dirent *e;
	struct stat st;
	DIR *d;

	if (stat(path, &st)) {
		perror(path);
		exit(1);
	}
	if (S_ISREG(st.st_mode))
		return replay_file(path, (size_t)st.st_size);
	d = S_ISDIR(st.st_mode) ? opendir(path) : NULL;
	if (!d)
		return 0;
	while ((e = readdir(d))) {
		char *below;

		if (e->d_name[0] == '.')
			continue;
		if (asprintf(&below, "%s/%s", path, e->d_name) < 0)
			abort();
		count += replay(below);
		free(below);
	}
	closedir(d);
	return count;
}

int main(int argc, char **argv)
{
	size_t count = 0;

	for (int i = 1; i < argc; i++)
		count += replay(argv[i]);
	printf("%zu inputs\n", count);
	return count == 0;
}
