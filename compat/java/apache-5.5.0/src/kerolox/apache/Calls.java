package kerolox.apache;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.TreeMap;

/** A connection that sends frames as they are given, however wrong. */
final class Calls implements AutoCloseable {
    private static final int PATIENCE_MILLIS = 3_000;

    /** An answer; code -1 for none. */
    record Reply(int code, String remark, Map<String, String> fields, byte[] body) {
        static Reply none(String why) {
            return new Reply(-1, why, Map.of(), new byte[0]);
        }
    }

    private final String address;
    private Socket socket;
    private int opaque;

    Calls(String address) {
        this.address = address;
    }

    /** Sends a request and waits for its answer; what else comes is passed over. */
    Reply call(int code, Map<String, String> fields, byte[] body) {
        JSONObject header = new JSONObject();
        header.put("code", code);
        header.put("flag", 0);
        header.put("language", "JAVA");
        header.put("opaque", ++opaque);
        header.put("serializeTypeCurrentRPC", "JSON");
        header.put("version", 513);
        if (fields != null) {
            header.put("extFields", fields);
        }
        byte[] json = header.toString().getBytes(StandardCharsets.UTF_8);
        ByteBuffer frame = ByteBuffer.allocate(8 + json.length + body.length);
        frame.putInt(4 + json.length + body.length).putInt(json.length).put(json).put(body);
        try {
            if (socket == null) {
                socket = new Socket();
                socket.setTcpNoDelay(true);
                socket.setSoTimeout(PATIENCE_MILLIS);
                String[] parts = address.split(":");
                socket.connect(new InetSocketAddress(parts[0], Integer.parseInt(parts[1])), PATIENCE_MILLIS);
            }
            new DataOutputStream(socket.getOutputStream()).write(frame.array());
            DataInputStream in = new DataInputStream(socket.getInputStream());
            while (true) {
                byte[] received = new byte[in.readInt()];
                in.readFully(received);
                ByteBuffer buffer = ByteBuffer.wrap(received);
                byte[] head = new byte[buffer.getInt() & 0xff_ffff];
                buffer.get(head);
                JSONObject reply = JSON.parseObject(head);
                if (reply.getIntValue("opaque") == opaque && (reply.getIntValue("flag") & 1) == 1) {
                    byte[] rest = new byte[buffer.remaining()];
                    buffer.get(rest);
                    Map<String, String> found = new TreeMap<>();
                    if (reply.getJSONObject("extFields") != null) {
                        reply.getJSONObject("extFields").forEach((key, value) -> found.put(key, String.valueOf(value)));
                    }
                    return new Reply(reply.getIntValue("code"), reply.getString("remark"), found, rest);
                }
            }
        } catch (SocketTimeoutException e) {
            return Reply.none("no answer");
        } catch (IOException e) {
            close();
            return Reply.none("closed");
        }
    }

    @Override
    public void close() {
        try {
            if (socket != null) {
                socket.close();
                socket = null;
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** A value without what differs by nature: times, addresses and ids that hold one, rates. */
    static String plain(String value) {
        return value.replaceAll("\\b1[78]\\d{11}\\b", "MS")
                .replaceAll("127\\.0\\.0\\.1:\\d+", "ADDRESS")
                .replaceAll("\\b(?!7F00000100000000)[0-9A-F]{32,}\\b", "ID")
                .replaceAll("\\b20\\d\\d-\\d\\d-\\d\\d#[\\d:]+", "TIME")
                .replaceAll("^\\d+\\.\\d+(E-?\\d+)?$", "RATE");
    }
}
