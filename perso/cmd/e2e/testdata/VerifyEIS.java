import java.io.File;
import java.io.FileInputStream;
import java.security.PublicKey;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import javax.xml.crypto.Data;
import javax.xml.crypto.NodeSetData;
import javax.xml.crypto.dsig.XMLSignature;
import javax.xml.crypto.dsig.XMLSignatureFactory;
import javax.xml.crypto.dsig.dom.DOMValidateContext;
import javax.xml.parsers.DocumentBuilderFactory;
import org.w3c.dom.Document;
import org.w3c.dom.NamedNodeMap;
import org.w3c.dom.Node;

/**
 * Verifies the EUM's signature of EIS files as a receiver in Java does: the arguments are the certificate and the files,
 * and for each file it prints its name and true or false.
 */
public class VerifyEIS {
  static final String NS = "http://namespaces.gsma.org/esim-messaging/3";

  public static void main(String[] args) throws Exception {
    PublicKey key;
    try (FileInputStream in = new FileInputStream(args[0])) {
      key = CertificateFactory.getInstance("X.509").generateCertificate(in).getPublicKey();
    }
    for (int i = 1; i < args.length; i++) {
      System.out.println(args[i] + " " + verifies(new File(args[i]), key));
    }
  }

  static boolean verifies(File file, PublicKey key) throws Exception {
    DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
    factory.setNamespaceAware(true);
    Document doc = factory.newDocumentBuilder().parse(file);
    Node signed = only(doc, "EumSignedInfo");
    // The signature's element is of the GSMA's namespace; the classes below know it by its own name. What is signed is
    // inside, so that the new name changes nothing.
    Node signature = doc.renameNode(only(doc, "EumSignature"), XMLSignature.XMLNS, "ds:Signature");
    DOMValidateContext context = new DOMValidateContext(key, signature);
    // The one reference has no URI: it means the element that was signed, without comments.
    context.setURIDereferencer((reference, c) -> subtree(signed));
    XMLSignature s = XMLSignatureFactory.getInstance("DOM").unmarshalXMLSignature(context);
    return s.getSignedInfo().getReferences().size() == 1 && s.validate(context);
  }

  static Node only(Document doc, String name) {
    if (doc.getElementsByTagNameNS(NS, name).getLength() != 1) {
      throw new IllegalStateException("not exactly one " + name);
    }
    return doc.getElementsByTagNameNS(NS, name).item(0);
  }

  static Data subtree(Node apex) {
    List<Node> nodes = new ArrayList<>();
    collect(apex, nodes);
    return new NodeSetData<Node>() {
      @Override
      public Iterator<Node> iterator() {
        return nodes.iterator();
      }
    };
  }

  static void collect(Node node, List<Node> into) {
    if (node.getNodeType() == Node.COMMENT_NODE) {
      return;
    }
    into.add(node);
    NamedNodeMap attributes = node.getAttributes();
    for (int i = 0; attributes != null && i < attributes.getLength(); i++) {
      into.add(attributes.item(i));
    }
    for (Node child = node.getFirstChild(); child != null; child = child.getNextSibling()) {
      collect(child, into);
    }
  }
}
