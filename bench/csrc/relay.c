/*
 * relay: the floor of the comparison. A TCP relay that parses nothing: one upstream connection for each
 * client connection, bytes copied as they come. What it costs is what the kernel's loopback TCP costs with four
 * data system calls a request; a proxy that reads HTTP can only come near it.
 *
 *   relay ADDRESS:PORT UPSTREAM-ADDRESS:PORT...
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* side is one of the two connections of a pair. */
struct side {
  int fd, dead;
  int closing; /* a FIN came: a short read is not the end */
  struct side *peer;
  char *pend; /* what fd could not take yet; while it is there, peer is not read */
  int pend_len, pend_off;
};

static char buf[256 << 10];
static int ep;

static void close_pair(struct side *s) {
  struct side *pair[2] = {s, s->peer};
  for (int i = 0; i < 2; i++) {
    close(pair[i]->fd);
    free(pair[i]->pend);
    pair[i]->pend = NULL;
    pair[i]->dead = 1; /* the pair itself stays: later events of this batch may name it */
  }
}

/* pump moves what src has to its peer, until src is drained or the peer is full. */
static void pump(struct side *src) {
  struct side *dst = src->peer;
  while (!dst->pend) {
    ssize_t n = recv(src->fd, buf, sizeof buf, 0);
    if (n < 0 && errno == EAGAIN)
      return;
    if (n <= 0) {
      close_pair(src);
      return;
    }
    ssize_t sent = send(dst->fd, buf, n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
      close_pair(src);
      return;
    }
    if (sent < 0)
      sent = 0;
    if (sent < n) {
      dst->pend = malloc(n - sent);
      memcpy(dst->pend, buf + sent, n - sent);
      dst->pend_len = n - sent, dst->pend_off = 0;
    }
    if (n < (ssize_t)sizeof buf && !src->closing)
      return; /* a short read has drained the socket */
  }
}

/* flush sends what was left over, and then reads on from the peer. */
static void flush(struct side *s) {
  while (s->pend_off < s->pend_len) {
    ssize_t n = send(s->fd, s->pend + s->pend_off, s->pend_len - s->pend_off, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno != EAGAIN)
        close_pair(s);
      return;
    }
    s->pend_off += n;
  }
  free(s->pend);
  s->pend = NULL;
  pump(s->peer);
}

static int parse(const char *spec, struct sockaddr_in *a) {
  char host[64];
  const char *colon = strrchr(spec, ':');
  if (!colon || colon - spec >= (int)sizeof host)
    return -1;
  memcpy(host, spec, colon - spec), host[colon - spec] = 0;
  a->sin_family = AF_INET, a->sin_port = htons(atoi(colon + 1));
  return inet_aton(host, &a->sin_addr) ? 0 : -1;
}

static void watch(int fd, struct side *s, unsigned events) {
  struct epoll_event e = {events, {.ptr = s}};
  epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

/* pair_up connects a new client to an upstream. Connecting may block: it happens before anything is measured. */
static void pair_up(int client, struct sockaddr_in *up) {
  int one = 1, nonblock = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (void *)up, sizeof *up)) {
    close(client);
    if (fd >= 0)
      close(fd);
    return;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  ioctl(fd, FIONBIO, &nonblock);
  struct side *s = calloc(2, sizeof *s);
  s[0].fd = client, s[0].peer = &s[1];
  s[1].fd = fd, s[1].peer = &s[0];
  watch(client, &s[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
  watch(fd, &s[1], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

int main(int argc, char **argv) {
  struct sockaddr_in addr[16];
  if (argc < 3 || argc > 16) {
    fprintf(stderr, "usage: relay ADDRESS:PORT UPSTREAM-ADDRESS:PORT...\n");
    return 2;
  }
  for (int i = 1; i < argc; i++)
    if (parse(argv[i], &addr[i - 1])) {
      fprintf(stderr, "relay: %s is not ADDRESS:PORT\n", argv[i]);
      return 2;
    }
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1, next = 0, ups = argc - 2;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void *)&addr[0], sizeof addr[0]) || listen(listener, 4096)) {
    perror(argv[1]);
    return 1;
  }
  ep = epoll_create1(0);
  watch(listener, NULL, EPOLLIN);
  struct epoll_event ev[512];
  for (;;) {
    int n = epoll_wait(ep, ev, 512, -1);
    for (int i = 0; i < n; i++) {
      struct side *s = ev[i].data.ptr;
      if (!s) {
        int fd;
        while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
          pair_up(fd, &addr[1 + next++ % ups]);
        continue;
      }
      if (!s->dead && s->pend && (ev[i].events & EPOLLOUT))
        flush(s);
      if (ev[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->closing = 1;
      if (!s->dead && (s->closing || (ev[i].events & EPOLLIN)))
        pump(s);
    }
  }
}
