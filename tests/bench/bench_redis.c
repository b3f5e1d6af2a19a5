/*
 * Connections that append messages to lists in Redis, each waiting for its answer.
 *
 *	bench_redis SOCKET CONNECTIONS APPENDS
 */
#include "bench.h"

#include <sys/socket.h>
#include <sys/un.h>

static int open_connection(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(a.sun_path))
		die("%s: too long for a socket", path);
	strcpy(a.sun_path, path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)))
		die("%s: %s", path, strerror(errno));
	return fd;
}

static void work(struct run *r, size_t worker)
{
	char message[MESSAGE_MAX], request[MESSAGE_MAX + 128], key[32], reply[64];
	int fd = open_connection(r->arg), key_size = snprintf(key, sizeof(key), "session:%zu", worker);

	run_go(r);
	for (size_t i = 0; i < r->each; i++) {
		double start = now();
		size_t size = make_message(message, worker, i), got = 0;
		ssize_t n = snprintf(request, sizeof(request), "*3\r\n$5\r\nRPUSH\r\n$%d\r\n%s\r\n$%zu\r\n%s\r\n", key_size, key, size, message);

		if (write(fd, request, n) != n)
			die("write: %s", strerror(errno));
		while (!got || reply[got - 1] != '\n') {
			n = read(fd, reply + got, sizeof(reply) - got);
			if (n <= 0)
				die("no reply: %s", strerror(errno));
			got += n;
		}
		if (reply[0] != ':')
			die("refused: %.*s", (int)got, reply);
		r->times[worker * r->each + i] = now() - start;
	}
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		die("usage: bench_redis SOCKET CONNECTIONS APPENDS");
	run(number(argv[2]), number(argv[3]), true, work, argv[1]);
	return 0;
}
