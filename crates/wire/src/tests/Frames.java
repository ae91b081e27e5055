import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;

/**
 * Kafka's own Java client writes frames. Reads lines `MESSAGE VERSION ... JSON` (what stands between is dropped) and
 * prints `MESSAGE VERSION HEX JSON`, the JSON as the client understood it, defaults filled in. Comments stay.
 *
 *     java -cp KAFKA-CLIENTS-AND-JACKSON Frames.java < java_frames.txt > new
 */
public class Frames {
    public static void main(String[] arguments) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        ObjectMapper json = new ObjectMapper();
        for (String line; (line = in.readLine()) != null; ) {
            if (line.isBlank() || line.startsWith("#")) {
                System.out.println(line);
                continue;
            }
            String[] words = line.split(" ", 3);
            short version = Short.parseShort(words[1]);
            String name = "org.apache.kafka.common.message." + words[0] + "Data";
            Class<?> converter = Class.forName(name + "JsonConverter");
            JsonNode asked = json.readTree(words[2].substring(words[2].indexOf('{')));
            Message message = (Message) converter.getMethod("read", JsonNode.class, short.class).invoke(null, asked, version);
            ByteBuffer bytes = MessageUtil.toByteBufferAccessor(message, version).buffer();
            byte[] body = new byte[bytes.remaining()];
            bytes.get(body);
            Object told = converter.getMethod("write", Class.forName(name), short.class).invoke(null, message, version);
            System.out.println(words[0] + " " + version + " " + HexFormat.of().formatHex(body) + " " + told);
        }
    }
}
