package com.example.panel;

import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;

/** Finds at once what gRPC would find at each handshake. */
final class PemFiles {
  static void check(File ca, File cert, File key) throws GeneralSecurityException, IOException {
    first(ca);
    if (cert != null && !belong(first(cert).getPublicKey(), privateKey(key, first(cert)))) {
      throw new CertificateException(key + " is not the key of " + cert);
    }
  }

  private static Certificate first(File file) throws GeneralSecurityException, IOException {
    var pem = new ByteArrayInputStream(Files.readAllBytes(file.toPath()));
    for (Certificate each : CertificateFactory.getInstance("X.509").generateCertificates(pem)) {
      return each;
    }
    throw new CertificateException(file + " holds no certificate");
  }

  /** gRPC takes PKCS #8 alone. */
  private static PrivateKey privateKey(File file, Certificate cert)
      throws GeneralSecurityException, IOException {
    String base64 = Files.readString(file.toPath()).replaceAll("-----[A-Z ]+-----", "");
    var spec = new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(base64));
    return KeyFactory.getInstance(cert.getPublicKey().getAlgorithm()).generatePrivate(spec);
  }

  private static boolean belong(PublicKey publicKey, PrivateKey privateKey)
      throws GeneralSecurityException {
    String algorithm =
        switch (publicKey.getAlgorithm()) {
          case "EC" -> "SHA256withECDSA";
          case "RSA" -> "SHA256withRSA";
          default -> publicKey.getAlgorithm();
        };
    var signature = Signature.getInstance(algorithm);
    signature.initSign(privateKey);
    signature.update((byte) 1);
    byte[] signed = signature.sign();
    signature.initVerify(publicKey);
    signature.update((byte) 1);
    return signature.verify(signed);
  }

  private PemFiles() {}
}
