import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.Arrays;

/**
 * Drives a server with Java's HttpClient: java Client.java URL. The client asks for an upgrade to
 * HTTP/2 with its requests, as it does unless told otherwise, and must be content without it.
 */
public class Client {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();

    private static String url;

    public static void main(String[] arguments) throws Exception {
        url = arguments[0];
        byte[] body = "0123456789abcdef".repeat(65536).getBytes();
        byte[] ok = "ok".getBytes();
        BodyPublisher none = BodyPublishers.noBody();
        BodyPublisher known = BodyPublishers.ofByteArray(body);
        BodyPublisher unknown = BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body));
        check("GET", "/", none, false, 200, ok);
        check("GET", "/", none, false, 200, ok);
        check("HEAD", "/large", none, false, 200, new byte[0]);
        check("POST", "/echo", known, false, 200, body);
        check("POST", "/echo", known, true, 200, body);
        check("POST", "/echo", unknown, false, 200, body);
        check("GET", "/large", none, false, 200, "x".repeat(1 << 20).getBytes());
        check("GET", "/stream", none, false, 200, "piece ".repeat(100).getBytes());
        check("GET", "/none", none, false, 404, null);
        check("GET", "/", none, false, 200, ok);
    }

    private static void check(
            String method,
            String path,
            BodyPublisher body,
            boolean expectsContinue,
            int status,
            byte[] expected)
            throws Exception {
        HttpRequest request =
                HttpRequest.newBuilder(URI.create(url + path))
                        .method(method, body)
                        .expectContinue(expectsContinue)
                        .timeout(Duration.ofSeconds(60))
                        .build();
        var response = CLIENT.send(request, BodyHandlers.ofByteArray());
        boolean isRight = expected == null || Arrays.equals(response.body(), expected);
        if (response.statusCode() != status || !isRight) {
            System.err.println(
                    method + " " + path + ": " + response.statusCode() + ", "
                            + response.body().length + " bytes");
            System.exit(1);
        }
    }
}
