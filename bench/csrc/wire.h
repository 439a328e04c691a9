/*
 * wire: one connection to a proxy on loopback, in clear or over TLS, as the load generator uses it: opened while
 * blocking, read and written without. TLS needs OpenSSL's headers; without -DWITH_TLS it only says so.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#else
typedef void SSL;
#endif

struct wire {
  int fd;
  SSL *ssl; /* NULL = in clear */
};

#ifdef WITH_TLS
static SSL_CTX *tls_context(void) {
  static const unsigned char alpn[] = "\x08http/1.1";
  SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
  SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256"); /* the same cipher for every peer */
  SSL_CTX_set_alpn_protos(ctx, alpn, sizeof alpn - 1);
  return ctx;
}

static void tls_connect(struct wire *w) {
  static SSL_CTX *ctx;
  if (!ctx)
    ctx = tls_context();
  w->ssl = SSL_new(ctx);
  SSL_set_fd(w->ssl, w->fd);
  SSL_set_tlsext_host_name(w->ssl, "localhost");
  if (SSL_connect(w->ssl) != 1) {
    fprintf(stderr, "load: the TLS handshake did not succeed\n");
    exit(1);
  }
}

static void tls_free(SSL *ssl) { SSL_free(ssl); }

/* tls_read is recv: -1 with EAGAIN when there is nothing more for now. */
static ssize_t tls_read(SSL *ssl, char *buf, int size) {
  int n = SSL_read(ssl, buf, size);
  if (n > 0)
    return n;
  errno = SSL_get_error(ssl, n) == SSL_ERROR_WANT_READ ? EAGAIN : ECONNRESET;
  return -1;
}

static ssize_t tls_write(SSL *ssl, const char *buf, int size) { return SSL_write(ssl, buf, size); }
#else
static void tls_connect(struct wire *w) {
  (void)w;
  fprintf(stderr, "load: built without OpenSSL\n");
  exit(1);
}
static void tls_free(SSL *ssl) { (void)ssl; }
static ssize_t tls_read(SSL *ssl, char *buf, int size) { return (void)ssl, (void)buf, (void)size, -1; }
static ssize_t tls_write(SSL *ssl, const char *buf, int size) { return (void)ssl, (void)buf, (void)size, -1; }
#endif

/* wire_open connects from a client address of 127.0.0.0/8. */
static int wire_open(struct wire *w, int port, int tls, unsigned from) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int one = 1;
  w->ssl = NULL;
  w->fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(from)};
  if (from != INADDR_LOOPBACK && bind(w->fd, (void *)&own, sizeof own))
    return -1;
  if (w->fd < 0 || connect(w->fd, (void *)&a, sizeof a))
    return -1;
  setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (tls)
    tls_connect(w);
  return fcntl(w->fd, F_SETFL, O_NONBLOCK);
}

static void wire_close(struct wire *w) {
  if (w->ssl)
    tls_free(w->ssl);
  close(w->fd);
}

static ssize_t wire_read(struct wire *w, char *buf, int size) {
  return w->ssl ? tls_read(w->ssl, buf, size) : recv(w->fd, buf, size, 0);
}

static ssize_t wire_write(struct wire *w, const char *buf, int size) {
  return w->ssl ? tls_write(w->ssl, buf, size) : send(w->fd, buf, size, MSG_NOSIGNAL);
}
