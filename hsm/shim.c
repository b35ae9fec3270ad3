#include "shim.h"

#include <dlfcn.h>

/* The binding (miekg/pkcs11) has the rest of PKCS#11. It copies arguments and results through memory that it frees without
 * clearing, and does not lend its function list, so this file looks the list up again. Layouts: PKCS #11 v2.40, base
 * specification, sections 3 and 5 (Unix: not packed), and current mechanisms, 2.12.2 (CK_GCM_PARAMS). */

typedef unsigned long ulong_t;
typedef void (*any_fn)(void);

typedef struct {
  ulong_t mechanism;
  void *parameter;
  ulong_t parameter_len;
} mechanism_t;

typedef struct {
  unsigned char *iv;
  ulong_t iv_len;
  ulong_t iv_bits;
  unsigned char *aad;
  ulong_t aad_len;
  ulong_t tag_bits;
} gcm_t;

typedef ulong_t (*init_fn)(ulong_t session, mechanism_t *m, ulong_t key);
typedef ulong_t (*use_fn)(ulong_t session, unsigned char *in, ulong_t in_len, unsigned char *out, ulong_t *out_len);

/* CK_FUNCTION_LIST as far as C_GenerateRandom; what is not called here keeps its place only. */
struct shim_list {
  unsigned char major, minor;
  any_fn head[18]; /* C_Initialize .. C_SetOperationState */
  ulong_t (*login)(ulong_t session, ulong_t user, unsigned char *pin, ulong_t pin_len);
  any_fn logout;
  ulong_t (*create_object)(ulong_t session, void *attributes, ulong_t count, ulong_t *object);
  any_fn objects[8]; /* C_CopyObject .. C_FindObjectsFinal */
  init_fn encrypt_init;
  use_fn encrypt;
  any_fn encrypt_parts[2]; /* C_EncryptUpdate, C_EncryptFinal */
  init_fn decrypt_init;
  use_fn decrypt;
  any_fn digests[7]; /* C_DecryptUpdate .. C_DigestFinal */
  init_fn sign_init;
  use_fn sign;
  any_fn rest[20]; /* C_SignUpdate .. C_SeedRandom */
  ulong_t (*generate_random)(ulong_t session, unsigned char *out, ulong_t len);
};

_Static_assert(offsetof(struct shim_list, login) == sizeof(any_fn) * (1 + 18), "C_Login is function 18");
_Static_assert(offsetof(struct shim_list, create_object) == sizeof(any_fn) * (1 + 20), "C_CreateObject is function 20");
_Static_assert(offsetof(struct shim_list, encrypt) == sizeof(any_fn) * (1 + 30), "C_Encrypt is function 30");
_Static_assert(offsetof(struct shim_list, decrypt) == sizeof(any_fn) * (1 + 34), "C_Decrypt is function 34");
_Static_assert(offsetof(struct shim_list, sign) == sizeof(any_fn) * (1 + 43), "C_Sign is function 43");
_Static_assert(offsetof(struct shim_list, generate_random) == sizeof(any_fn) * (1 + 64), "C_GenerateRandom is function 64");

shim_list *shim_open(const char *path, void **handle) {
  shim_list *list = NULL;
  ulong_t (*get)(shim_list **);
  *handle = dlopen(path, RTLD_LAZY);
  if (*handle == NULL) {
    return NULL;
  }
  get = (ulong_t(*)(shim_list **))dlsym(*handle, "C_GetFunctionList");
  if (get == NULL || get(&list) != 0 || list == NULL) {
    dlclose(*handle);
    *handle = NULL;
    return NULL;
  }
  return list;
}

void shim_close(void *handle) { dlclose(handle); }

unsigned long shim_login(shim_list *f, unsigned long session, unsigned long user, unsigned char *pin, size_t pin_len) {
  return f->login(session, user, pin, pin_len);
}

unsigned long shim_create(shim_list *f, unsigned long session, void *attributes, size_t count, unsigned long *object) {
  return f->create_object(session, attributes, count, object);
}

unsigned long shim_random(shim_list *f, unsigned long session, unsigned char *out, size_t len) {
  return f->generate_random(session, out, len);
}

static ulong_t run(init_fn init, use_fn use, ulong_t session, mechanism_t *m, ulong_t key, unsigned char *in,
                   size_t in_len, unsigned char *out, size_t *out_len, int *op) {
  ulong_t len = *out_len, rv;
  *op = SHIM_OP_INIT;
  rv = init(session, m, key);
  if (rv != 0) {
    return rv;
  }
  *op = SHIM_OP_USE;
  rv = use(session, in, in_len, out, &len);
  *out_len = len;
  return rv;
}

unsigned long shim_sign(shim_list *f, unsigned long session, unsigned long mechanism, unsigned long key,
                        unsigned char *in, size_t in_len, unsigned char *out, size_t *out_len, int *op) {
  mechanism_t m = {mechanism, NULL, 0};
  return run(f->sign_init, f->sign, session, &m, key, in, in_len, out, out_len, op);
}

unsigned long shim_encrypt(shim_list *f, unsigned long session, unsigned long mechanism, unsigned long key,
                           unsigned char *in, size_t in_len, unsigned char *out, size_t *out_len, int *op) {
  mechanism_t m = {mechanism, NULL, 0};
  return run(f->encrypt_init, f->encrypt, session, &m, key, in, in_len, out, out_len, op);
}

unsigned long shim_gcm(shim_list *f, int decrypt, unsigned long session, unsigned long key, unsigned char *nonce,
                       size_t nonce_len, unsigned char *aad, size_t aad_len, unsigned long tag_bits,
                       unsigned char *in, size_t in_len, unsigned char *out, size_t *out_len, int *op) {
  const ulong_t aes_gcm = 0x1087;
  gcm_t p = {nonce, nonce_len, nonce_len * 8, aad, aad_len, tag_bits};
  mechanism_t m = {aes_gcm, &p, sizeof p};
  if (decrypt) {
    return run(f->decrypt_init, f->decrypt, session, &m, key, in, in_len, out, out_len, op);
  }
  return run(f->encrypt_init, f->encrypt, session, &m, key, in, in_len, out, out_len, op);
}
