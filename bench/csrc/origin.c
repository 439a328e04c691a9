/*
 * origin: the server behind every proxy of the comparison. One epoll thread, fixed answers, keep-alive, and
 * as little work as possible, because it shares a core with the load generator.
 *
 *   origin ADDRESS:PORT...      "*:PORT" = every 127.x.y.z address, reachable over loopback only
 *
 * What a path asks for is its first letter:
 *   /s...  128 bytes (also every other path)      /m...  16 KiB      /l...  1 MiB
 *   /v...  the request head as it arrived, so that the runner can see what a proxy adds
 * A request body is read by its Content-Length, thrown away, and answered with 128 bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SMALL, MEDIUM, LARGE, KINDS };
static const int size[KINDS] = {128, 16 << 10, 1 << 20};

static char *answer[KINDS]; /* head and body, ready to send */
static int answer_len[KINDS];

struct conn {
  int fd, listener;
  int in;          /* bytes in buf */
  long skip;       /* bytes of a request body still to come */
  const char *out; /* answer being sent, NULL = none */
  int out_len, out_off;
  char *echo;      /* an answer of this connection's own, for /v */
  char buf[8192];
};

static int ep;

static void watch(struct conn *c, unsigned events) {
  struct epoll_event e = {events, {.ptr = c}};
  epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
}

static void reply(struct conn *c, int kind) {
  c->out = answer[kind], c->out_len = answer_len[kind], c->out_off = 0;
}

static void reply_echo(struct conn *c, int head_len) {
  c->echo = malloc(head_len + 128);
  c->out_len = sprintf(c->echo, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", head_len);
  memcpy(c->echo + c->out_len, c->buf, head_len);
  c->out_len += head_len, c->out = c->echo, c->out_off = 0;
}

/* flush sends what is left of the answer: 1 = all of it, 0 = the socket is full, -1 = the peer is gone. */
static int flush(struct conn *c) {
  while (c->out_off < c->out_len) {
    ssize_t n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL);
    if (n < 0)
      return errno == EAGAIN ? 0 : -1;
    c->out_off += n;
  }
  free(c->echo);
  c->echo = NULL, c->out = NULL;
  return 1;
}

static void consume(struct conn *c, int n) {
  memmove(c->buf, c->buf + n, c->in - n);
  c->in -= n;
}

/* process answers the requests in buf: 1 = needs more input, 0 = the socket is full, -1 = close. */
static int process(struct conn *c) {
  for (;;) {
    if (c->out) {
      int r = flush(c);
      if (r <= 0)
        return r;
    }
    if (c->skip) {
      long n = c->skip < c->in ? c->skip : c->in;
      consume(c, n);
      c->skip -= n;
      if (c->skip)
        return 1;
      reply(c, SMALL);
      continue;
    }
    char *end = memmem(c->buf, c->in, "\r\n\r\n", 4);
    if (!end)
      return c->in == sizeof c->buf ? -1 : 1;
    int head_len = end + 4 - c->buf;
    char *target = memchr(c->buf, ' ', head_len);
    char kind = target ? target[2] : 0;
    if (c->buf[0] != 'G') { /* only what is not a GET has a body here */
      *end = 0;
      char *length = strcasestr(c->buf, "\r\ncontent-length:");
      *end = '\r';
      c->skip = length ? atol(length + 17) : 0;
    }
    if (!c->skip && kind == 'v')
      reply_echo(c, head_len);
    else if (!c->skip)
      reply(c, kind == 'm' ? MEDIUM : kind == 'l' ? LARGE : SMALL);
    consume(c, head_len);
  }
}

static void accept_all(struct conn *l) {
  int fd, one = 1;
  while ((fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct conn *c = malloc(sizeof *c);
    memset(c, 0, offsetof(struct conn, buf));
    c->fd = fd;
    watch(c, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
  }
}

static void handle(struct conn *c, unsigned events) {
  int state = c->out && (events & EPOLLOUT) ? process(c) : 1;
  while (state >= 0 && !c->out && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
    int room = sizeof c->buf - c->in;
    ssize_t n = recv(c->fd, c->buf + c->in, room, 0);
    if (n < 0 && errno == EAGAIN)
      break;
    if (n <= 0) {
      state = -1;
      break;
    }
    c->in += n;
    state = process(c);
    if (n < room && !(events & EPOLLRDHUP))
      break; /* a short read has drained the socket, unless a FIN came along with the bytes */
  }
  if (state < 0) {
    close(c->fd);
    free(c->echo);
    free(c);
  }
}

static int listen_on(const char *spec) {
  char host[64];
  const char *colon = strrchr(spec, ':');
  if (!colon || colon - spec >= (int)sizeof host)
    return -1;
  memcpy(host, spec, colon - spec), host[colon - spec] = 0;
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(colon + 1))};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (strcmp(host, "*") == 0) { /* all of 127.0.0.0/8, and nothing from outside */
    if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3))
      return -1;
  } else if (!inet_aton(host, &a.sin_addr)) {
    return -1;
  }
  if (bind(fd, (void *)&a, sizeof a) || listen(fd, 4096))
    return -1;
  struct conn *l = calloc(1, sizeof *l);
  l->fd = fd, l->listener = 1;
  watch(l, EPOLLIN);
  return 0;
}

int main(int argc, char **argv) {
  for (int k = 0; k < KINDS; k++) {
    answer[k] = malloc(size[k] + 512);
    int head = sprintf(answer[k],
                       "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n"
                       "Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-cache\r\nContent-Length: %d\r\n\r\n",
                       size[k]);
    memset(answer[k] + head, 'x', size[k]);
    answer_len[k] = head + size[k];
  }
  ep = epoll_create1(0);
  for (int i = 1; i < argc; i++)
    if (listen_on(argv[i])) {
      perror(argv[i]);
      return 1;
    }
  struct epoll_event ev[512];
  for (;;) {
    int n = epoll_wait(ep, ev, 512, -1);
    for (int i = 0; i < n; i++) {
      struct conn *c = ev[i].data.ptr;
      if (c->listener)
        accept_all(c);
      else
        handle(c, ev[i].events);
    }
  }
}
